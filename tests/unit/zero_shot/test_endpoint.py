"""Existing servers: the connection and the key from an environment variable."""

from pathlib import Path
from typing import Any

import pytest

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import server


def connect(**keys: Any) -> Any:
    endpoint = {"url": "https://example.org/v1"} | keys
    settings = ZeroShotSystem.model_validate({"family": "zero_shot", "model": "some/model", "endpoint": endpoint})
    return server.connect(settings, Path("log"), cpus=1, gpus=0, start_minutes=1)


def test_endpoint_is_used_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", "sk-123\n")
    with connect(key_variable="MY_KEY") as backend:
        assert (backend.url, backend.model, backend.key) == ("https://example.org/v1", "some/model", "sk-123")
        assert "sk-123" not in repr(backend) + str(backend.describe())
        assert backend.describe() == {"kind": "endpoint", "url": "https://example.org/v1"}
        assert backend.alive()
        with pytest.raises(UserError, match=r"endpoint https://example\.org/v1: "):
            backend.restart()
    with connect() as backend:
        assert backend.key is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "words"), [(None, "is not set"), (" ", "is not set"), ("sk-1\n2", "set it again")])
def test_invalid_key_is_reported_without_printing_it(
    key: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match=f"MY_KEY .*{words}") as caught, connect(key_variable="MY_KEY"):
        pass
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("variable", ["AIzaSyA123", "sk_proj_abc"])
def test_key_given_instead_of_its_variable_is_not_shown(variable: str) -> None:
    with pytest.raises(UserError, match=r"endpoint.key_variable: ") as caught:
        connect(key_variable=variable).__enter__()
    assert variable not in str(caught.value)
