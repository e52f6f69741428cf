"""Fixtures of the tests that label transcripts."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from abhinaya.labels import CLASSES
from abhinaya.zero_shot import client, text
from abhinaya.zero_shot.server import connect
from support.chat_server import ChatServer
from support.text_labelling import KEY, TEXTS, rows, settings


@pytest.fixture
def chat_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-one")
    monkeypatch.setattr(client, "MAX_RETRIES", 3)
    monkeypatch.setattr(client, "RATE_LIMIT_PAUSE", 0.05)
    monkeypatch.setattr(client, "MAX_RATE_LIMITED", 0.3)


@pytest.fixture
def run(tmp_path: Path, chat_environment: None) -> Callable:
    """Label `texts` by a server's rule or a running server; returns the three results."""

    def labelled(
        server: ChatServer,
        texts: list[str] | pd.DataFrame = TEXTS,
        /,
        *,
        concurrency: int = 8,
        store: str = "store",
        classes: tuple[str, ...] = CLASSES,
        seconds: int = 20,
        connect_to: Callable | None = None,
        **changes: object,
    ):
        chosen = settings(server.url, **changes) if server else settings(**changes)

        def endpoint():
            return connect(chosen, tmp_path / "server.log", 1, 0, 1)

        table = rows(texts) if isinstance(texts, list) else texts
        return text.label(table, chosen, classes, tmp_path / store, connect_to or endpoint, concurrency, seconds)

    return labelled
