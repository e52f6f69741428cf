"""Zero-shot labelling of transcripts with a stand-in chat server, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.labels import EMOTIONS
from abhinaya.runtime.errors import UserError
from support.chat_server import ChatServer, ReceivedRequest, Reply, letters

KEY = "sk-0123456789-very-secret"
KEYWORDS = {
    "damn": "A",
    "pathetic": "C",
    "yuck": "D",
    "help": "F",
    "yippee": "H",
    "table": "N",
    "tears": "S",
    "what": "U",
}
TEXTS = [f"{word}, said number {number}" for number, word in enumerate(list(KEYWORDS) * 3)]
EXPECTED = [KEYWORDS[text.split(",")[0]] for text in TEXTS]
SCORED = {"prompt": {"mode": "scored", "option_permutations": 8}}


def keyword(text: str) -> str:
    return next((letter for word, letter in KEYWORDS.items() if word in text), "N")


def by_keyword(request: ReceivedRequest) -> Reply:
    return Reply(EMOTIONS[keyword(request.text)])


def by_letter(request: ReceivedRequest) -> Reply:
    """A model that prefers the correct emotion and, as much, the first option."""
    options = dict(line.split(". ") for line in request.body["messages"][0]["content"].splitlines() if line[1:2] == ".")
    weights = {option: 1.0 + 3 * (option == "A") for option in options}
    for option, word in options.items():
        if word == EMOTIONS[keyword(request.text)] and any(each in request.text for each in KEYWORDS):
            weights[option] *= 4
    total = sum(weights.values())
    return letters({option: weight / total for option, weight in weights.items()})


def rows(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "FileName": [f"clip_{number:04}.wav" for number in range(len(texts))],
            "split": ["test" if number % 3 else "validation" for number in range(len(texts))],
            "text": texts,
        }
    )


def settings(url: str | None = None, structured_output: bool = True, parameters: dict | None = None, **changes: object):
    values = {"family": "zero_shot", "model": "tested"} | changes
    if url:
        values["endpoint"] = {
            "url": url,
            "key_variable": "CHAT_KEY",
            "structured_output": structured_output,
            "parameters": parameters or {},
        }
    return ZeroShotSystem.model_validate(values)


def no_connection():
    raise AssertionError("connected to a server")


@dataclass
class StandInServer:
    """Stands in for the job's vLLM server: it can end and be restarted once, at another address."""

    servers: list[ChatServer]
    has_ended: bool = False
    restarts: int = 0
    model: str = "served"
    key: str = field(default=KEY, repr=False)

    @property
    def url(self) -> str:
        return self.servers[self.restarts].url

    def alive(self) -> bool:
        return not self.has_ended

    software = "vllm 0"

    def restart(self) -> None:
        if self.restarts:
            raise UserError("twice")
        self.restarts += 1
        self.has_ended = False

    def describe(self) -> dict:
        return {"kind": "stand_in", "restarts": self.restarts}

    @contextmanager
    def connect(self) -> Iterator["StandInServer"]:
        yield self
