"""What is asked about each transcript, and how the answers are read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.labels import CLASSES, EMOTIONS, INDEX
from abhinaya.pretrained.hub import source_digest
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import prompts

WORD_TOKENS = 16  # enough for any of the words, which end the answer themselves
FREE_TOKENS = 32  # where nothing constrains the answer
MAX_LISTED = 20  # log-probabilities of a token that OpenAI's interface tells


@dataclass(frozen=True)
class Request:
    """One request: the emotion of `text`, the classes in `order`."""

    key: str  # digest of all that decides the answer
    text: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class LabellingResult:
    """What became of a transcript: `probabilities` (8,) or None for the fallback."""

    status: str
    probabilities: np.ndarray | None = None
    answer: str | None = None
    reason: str | None = None
    generated_tokens: int | None = None


class LabellingTask:
    """What `settings` ask about `texts`: the requests of each, and how their answers are read."""

    def __init__(self, settings: ZeroShotSystem, classes: Sequence[str], texts: Sequence[str]) -> None:
        self.settings, self.prompt = settings, settings.prompt
        self.classes = tuple(letter for letter in CLASSES if letter in classes)
        self.scored = self.prompt.mode == "scored"
        self.structured_output = settings.endpoint is None or settings.endpoint.structured_output
        self.source_digest = None if settings.endpoint else source_digest(settings.model)
        self.orders = prompts.orders(self.classes, self.prompt.option_permutations if self.scored else 1)
        prior = self.prompt.calibration_texts if self.scored and texts else []
        self.calibration_requests = [self._requests(prompts.sanitised(t, settings.max_characters)[0]) for t in prior]
        self.requests = {text: self._requests(text) for text in texts}

    def all(self) -> dict[str, Request]:
        """All requests by key, those of the prior first."""
        every = (*self.calibration_requests, *self.requests.values())
        return {request.key: request for asked in every for request in asked}

    def body(self, request: Request) -> dict[str, Any]:
        """The fields of a request, apart from the model."""
        endpoint, structured = self.settings.endpoint, self.structured_output
        fields = {"messages": prompts.messages(self.prompt, request.order, request.text), "temperature": 0, "seed": 0}
        if self.scored:
            choice = list(prompts.OPTIONS[: len(request.order)])
            listed = len(prompts.OPTIONS) if structured else MAX_LISTED
            fields |= {"max_tokens": 1, "logprobs": True, "top_logprobs": listed}
        else:
            choice = prompts.words(request.order)
            fields["max_tokens"] = WORD_TOKENS if structured else FREE_TOKENS
        if structured:
            fields["structured_outputs"] = {"choice": choice}
        fields |= endpoint.parameters if endpoint else {}
        return {name: value for name, value in fields.items() if value is not None}

    def prior(self, records: dict[str, dict], refused: dict[str, str]) -> np.ndarray | None:
        """(texts, orders, classes) probabilities of those texts without content that the model answers with a letter.

        None without a correction.

        Raises:
            UserError: it answers none of them so.
        """
        if not self.calibration_requests:
            return None
        found = [self._scores(asked, records) for asked in self.calibration_requests if not refusal(asked, refused)]
        found = [scores for scores in found if scores is not None]
        if not found:
            raise UserError(
                "prompt.calibration_texts: the model answers none of its texts with a letter; change them or set []"
            )
        return np.array(found)

    def outcome(
        self, text: str, records: dict[str, dict], refused: dict[str, str], prior: np.ndarray | None
    ) -> LabellingResult:
        """What became of `text`, given the answers (rows of the store), the refusals by request, the mean prior."""
        asked = self.requests[text]
        if reason := refusal(asked, refused):
            return LabellingResult("refused", reason=reason)
        answers = [self._said(request, records[request.key]["answer"]) for request in asked]
        answer = " ".join(said for said in answers if said is not None) or None
        counts = [records[request.key]["generated_tokens"] for request in asked]
        tokens = None if any(map(pd.isna, counts)) else int(sum(counts))
        found = self._probabilities(asked, records, prior)
        return LabellingResult("unparsable" if found is None else "labelled", found, answer, None, tokens)

    def _probabilities(
        self, asked: Sequence[Request], records: dict[str, dict], prior: np.ndarray | None
    ) -> np.ndarray | None:
        if not self.scored:
            row = records[asked[0].key]
            if row["finish_reason"] == "length" and not self.structured_output:
                return None  # cut off: "it could be happiness, or perhaps"
            letter = prompts.parse(row["answer"], self.classes)
            return None if letter is None else one_hot(letter)
        scores = self._scores(asked, records)
        if scores is None:
            return None
        found = np.zeros(len(CLASSES))
        found[[INDEX[letter] for letter in self.classes]] = prompts.corrected(scores, prior)
        return found

    def _scores(self, asked: Sequence[Request], records: dict[str, dict]) -> np.ndarray | None:
        """(orders, classes); None when the model does not answer with a letter in one of the orders."""
        listed = [json.loads(records[request.key]["letters"] or "{}") for request in asked]
        pairs = zip(listed, asked, strict=True)
        scores = np.array([prompts.probabilities(logprobs, each.order, self.classes) for logprobs, each in pairs])
        return scores if prompts.answered(scores) else None

    def _said(self, request: Request, answer: str | None) -> str | None:
        """The answer for a reader: the emotion's word in place of a letter, which means another one in each order."""
        option = (answer or "").strip()
        if not self.scored or len(option) != 1 or option not in prompts.OPTIONS[: len(request.order)]:
            return answer
        return EMOTIONS[request.order[prompts.OPTIONS.index(option)]]

    def _requests(self, text: str) -> list[Request]:
        return [Request(self._key(text, order), text, order) for order in self.orders]

    def _key(self, text: str, order: tuple[str, ...]) -> str:
        """A digest of all that decides the answer: the request and where the model comes from; not how it is sent."""
        settings = self.settings
        if settings.endpoint:
            origin = {"url": settings.endpoint.url.rstrip("/"), "model": settings.model}
        else:
            server = settings.server.model_dump(include={"dtype", "quantization", "arguments"})
            origin = {"model": settings.model, "revision": settings.revision, "files": self.source_digest, **server}
        decided = {"origin": origin, "body": self.body(Request("", text, order))}
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def one_hot(letter: str) -> np.ndarray:
    return np.eye(len(CLASSES))[INDEX[letter]]


def refusal(asked: Sequence[Request], refused: dict[str, str]) -> str | None:
    """Why one of the requests was refused, if one was."""
    return next((refused[request.key] for request in asked if request.key in refused), None)
