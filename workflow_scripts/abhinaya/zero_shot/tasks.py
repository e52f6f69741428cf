"""Requests for each transcript, and how the responses are converted to labels."""

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

WORD_TOKENS = 16  # enough for any emotion word
FREE_TOKENS = 32  # without structured output
MAX_LISTED = 20  # maximum number of log-probabilities per token in OpenAI's API


@dataclass(frozen=True)
class Request:
    """One request: the emotion of `text`, the classes in `order`."""

    key: str  # digest of everything that determines the response
    text: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class LabellingResult:
    """The result of a transcript: `probabilities` (8,), or None for the fallback."""

    status: str
    probabilities: np.ndarray | None = None
    answer: str | None = None
    reason: str | None = None
    generated_tokens: int | None = None


class LabellingTask:
    """The requests for `texts` with `settings`, and the conversion of their responses."""

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
        """All requests by key, calibration requests first."""
        every = (*self.calibration_requests, *self.requests.values())
        return {request.key: request for requests in every for request in requests}

    def body(self, request: Request) -> dict[str, Any]:
        """The fields of a request, except the model."""
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
        """(texts, orders, classes) probabilities of the calibration texts that the model answers with a letter.

        None without calibration.

        Raises:
            UserError: it answers none of them with a letter.
        """
        if not self.calibration_requests:
            return None
        priors = [self._scores(each, records) for each in self.calibration_requests if not refusal(each, refused)]
        priors = [scores for scores in priors if scores is not None]
        if not priors:
            raise UserError(
                "prompt.calibration_texts: the model answers none of the texts with a letter; change them or set []"
            )
        return np.array(priors)

    def outcome(
        self, text: str, records: dict[str, dict], refused: dict[str, str], prior: np.ndarray | None
    ) -> LabellingResult:
        """The result of `text` from the stored responses, the reasons of rejected requests and the mean prior."""
        requests = self.requests[text]
        if reason := refusal(requests, refused):
            return LabellingResult("refused", reason=reason)
        answers = [self._readable(request, records[request.key]["answer"]) for request in requests]
        answer = " ".join(part for part in answers if part is not None) or None
        counts = [records[request.key]["generated_tokens"] for request in requests]
        tokens = None if any(map(pd.isna, counts)) else int(sum(counts))
        values = self._probabilities(requests, records, prior)
        return LabellingResult("unparsable" if values is None else "labelled", values, answer, None, tokens)

    def _probabilities(
        self, requests: Sequence[Request], records: dict[str, dict], prior: np.ndarray | None
    ) -> np.ndarray | None:
        if not self.scored:
            row = records[requests[0].key]
            if row["finish_reason"] == "length" and not self.structured_output:
                return None  # truncated: "it could be happiness, or perhaps"
            letter = prompts.parse(row["answer"], self.classes)
            return None if letter is None else one_hot(letter)
        scores = self._scores(requests, records)
        if scores is None:
            return None
        values = np.zeros(len(CLASSES))
        values[[INDEX[letter] for letter in self.classes]] = prompts.corrected(scores, prior)
        return values

    def _scores(self, requests: Sequence[Request], records: dict[str, dict]) -> np.ndarray | None:
        """(orders, classes); None if the model does not answer with a letter in every order."""
        listed = [json.loads(records[request.key]["letters"] or "{}") for request in requests]
        pairs = zip(listed, requests, strict=True)
        scores = np.array([prompts.probabilities(logprobs, each.order, self.classes) for logprobs, each in pairs])
        return scores if prompts.answered(scores) else None

    def _readable(self, request: Request, answer: str | None) -> str | None:
        """The response with the emotion's name instead of a letter, whose meaning depends on the order."""
        option = (answer or "").strip()
        if not self.scored or len(option) != 1 or option not in prompts.OPTIONS[: len(request.order)]:
            return answer
        return EMOTIONS[request.order[prompts.OPTIONS.index(option)]]

    def _requests(self, text: str) -> list[Request]:
        return [Request(self._key(text, order), text, order) for order in self.orders]

    def _key(self, text: str, order: tuple[str, ...]) -> str:
        """A digest of what determines the response: the request and the origin of the model, not how it is sent."""
        settings = self.settings
        if settings.endpoint:
            origin = {"url": settings.endpoint.url.rstrip("/"), "model": settings.model}
        else:
            server = settings.server.model_dump(include={"dtype", "quantization", "arguments"})
            origin = {"model": settings.model, "revision": settings.revision, "files": self.source_digest, **server}
        content = {"origin": origin, "body": self.body(Request("", text, order))}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def one_hot(letter: str) -> np.ndarray:
    return np.eye(len(CLASSES))[INDEX[letter]]


def refusal(requests: Sequence[Request], refused: dict[str, str]) -> str | None:
    """The reason why one of the requests was rejected, if any."""
    return next((refused[request.key] for request in requests if request.key in refused), None)
