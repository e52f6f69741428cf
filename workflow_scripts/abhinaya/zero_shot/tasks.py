"""What is asked about each transcript, and how the answers are read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from abhinaya.config import ZeroShotSystem
from abhinaya.labels import CLASSES, EMOTIONS, INDEX
from abhinaya.pretrained.hub import stamp
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import prompts

WORD_TOKENS = 16  # enough for any of the words, which end the answer themselves
FREE_TOKENS = 32  # where nothing constrains the answer
MOST_LISTED = 20  # log-probabilities of a token that OpenAI's interface tells


@dataclass(frozen=True)
class Question:
    """One request: the emotion of `text`, the classes in `order`."""

    key: str  # digest of all that decides the answer
    text: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a transcript: `probabilities` (8,) or None for the fallback."""

    status: str
    probabilities: np.ndarray | None = None
    answer: str | None = None
    reason: str | None = None
    generated_tokens: int | None = None


class Task:
    """What `settings` ask about `texts`: the questions of each, and how their answers are read."""

    def __init__(self, settings: ZeroShotSystem, classes: Sequence[str], texts: Sequence[str]) -> None:
        self.settings, self.prompt = settings, settings.prompt
        self.classes = tuple(letter for letter in CLASSES if letter in classes)
        self.scored = self.prompt.mode == "scored"
        self.constrained = settings.endpoint is None or settings.endpoint.constrained
        self.stamp = None if settings.endpoint else stamp(settings.model)
        self.orders = prompts.orders(self.classes, self.prompt.orders if self.scored else 1)
        prior = self.prompt.prior if self.scored and texts else []
        self.prior_questions = [self._questions(prompts.sanitised(t, settings.max_characters)[0]) for t in prior]
        self.questions = {text: self._questions(text) for text in texts}

    def all(self) -> dict[str, Question]:
        """All questions by key, those of the prior first."""
        every = (*self.prior_questions, *self.questions.values())
        return {question.key: question for asked in every for question in asked}

    def body(self, question: Question) -> dict[str, Any]:
        """The fields of a request, apart from the model."""
        endpoint, constrained = self.settings.endpoint, self.constrained
        fields = {"messages": prompts.messages(self.prompt, question.order, question.text), "temperature": 0, "seed": 0}
        if self.scored:
            choice = list(prompts.OPTIONS[: len(question.order)])
            listed = len(prompts.OPTIONS) if constrained else MOST_LISTED
            fields |= {"max_tokens": 1, "logprobs": True, "top_logprobs": listed}
        else:
            choice = prompts.words(question.order)
            fields["max_tokens"] = WORD_TOKENS if constrained else FREE_TOKENS
        if constrained:
            fields["structured_outputs"] = {"choice": choice}
        fields |= endpoint.parameters if endpoint else {}
        return {name: value for name, value in fields.items() if value is not None}

    def prior(self, records: dict[str, dict], refused: dict[str, str]) -> np.ndarray | None:
        """(texts, orders, classes) probabilities of those texts without content that the model answers with a letter.

        None without a correction.

        Raises:
            UserError: it answers none of them so.
        """
        if not self.prior_questions:
            return None
        found = [self._scores(asked, records) for asked in self.prior_questions if not refusal(asked, refused)]
        found = [scores for scores in found if scores is not None]
        if not found:
            raise UserError("prompt.prior: the model answers none of its texts with a letter; change them or set []")
        return np.array(found)

    def outcome(
        self, text: str, records: dict[str, dict], refused: dict[str, str], prior: np.ndarray | None
    ) -> Outcome:
        """What became of `text`, given the answers (rows of the store), the refusals by question, the mean prior."""
        asked = self.questions[text]
        if reason := refusal(asked, refused):
            return Outcome("refused", reason=reason)
        answers = [self._said(question, records[question.key]["answer"]) for question in asked]
        answer = " ".join(said for said in answers if said is not None) or None
        counts = [records[question.key]["generated_tokens"] for question in asked]
        tokens = None if any(map(pd.isna, counts)) else int(sum(counts))
        found = self._probabilities(asked, records, prior)
        return Outcome("unparsable" if found is None else "labelled", found, answer, None, tokens)

    def _probabilities(
        self, asked: Sequence[Question], records: dict[str, dict], prior: np.ndarray | None
    ) -> np.ndarray | None:
        if not self.scored:
            row = records[asked[0].key]
            if row["finish_reason"] == "length" and not self.constrained:
                return None  # cut off: "it could be happiness, or perhaps"
            letter = prompts.parse(row["answer"], self.classes)
            return None if letter is None else one_hot(letter)
        scores = self._scores(asked, records)
        if scores is None:
            return None
        found = np.zeros(len(CLASSES))
        found[[INDEX[letter] for letter in self.classes]] = prompts.corrected(scores, prior)
        return found

    def _scores(self, asked: Sequence[Question], records: dict[str, dict]) -> np.ndarray | None:
        """(orders, classes); None when the model does not answer with a letter in one of the orders."""
        listed = [json.loads(records[question.key]["letters"] or "{}") for question in asked]
        pairs = zip(listed, asked, strict=True)
        scores = np.array([prompts.probabilities(logprobs, each.order, self.classes) for logprobs, each in pairs])
        return scores if prompts.answered(scores) else None

    def _said(self, question: Question, answer: str | None) -> str | None:
        """The answer for a reader: the emotion's word in place of a letter, which means another one in each order."""
        option = (answer or "").strip()
        if not self.scored or len(option) != 1 or option not in prompts.OPTIONS[: len(question.order)]:
            return answer
        return EMOTIONS[question.order[prompts.OPTIONS.index(option)]]

    def _questions(self, text: str) -> list[Question]:
        return [Question(self._key(text, order), text, order) for order in self.orders]

    def _key(self, text: str, order: tuple[str, ...]) -> str:
        """A digest of all that decides the answer: the request and where the model comes from; not how it is sent."""
        settings = self.settings
        if settings.endpoint:
            origin = {"url": settings.endpoint.url.rstrip("/"), "model": settings.model}
        else:
            server = settings.server.model_dump(include={"dtype", "quantization", "arguments"})
            origin = {"model": settings.model, "revision": settings.revision, "files": self.stamp, **server}
        decided = {"origin": origin, "body": self.body(Question("", text, order))}
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def one_hot(letter: str) -> np.ndarray:
    return np.eye(len(CLASSES))[INDEX[letter]]


def refusal(asked: Sequence[Question], refused: dict[str, str]) -> str | None:
    """Why one of the questions was refused, if one was."""
    return next((refused[question.key] for question in asked if question.key in refused), None)
