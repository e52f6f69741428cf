"""Sending chat requests to a server: so many at once, with retries; what is refused, and what stops everything."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from abhinaya import prompts
from abhinaya.config import ZeroShotSystem
from abhinaya.errors import UserError
from abhinaya.questions import Question
from abhinaya.serving import Backend

RETRIES = 6  # by openai's client, after 0.5, 1, 2, 4, 8 and 8 s, or when Retry-After says so (up to 2 minutes)
MOST_AT_ONCE = 1000  # connections of openai's client
KEY_REFUSED = (401, 403)
REQUEST_REFUSED = (400, 422)


class Unanswered(Exception):
    """The server gives no answer, however often it is asked."""


class Refused(Exception):
    """The server will not answer this one request."""


@dataclass
class Asker:
    """Asks one server, `concurrency` requests at once.

    Args:
        body: the fields of a question's request, apart from the model.
        keep: takes each answer (keys: columns of `answers.ANSWERS`) when it comes.
        refuse: takes each question that the server will not answer, and the reason.
    """

    backend: Backend
    settings: ZeroShotSystem
    body: Callable[[Question], dict[str, Any]]
    keep: Callable[[Question, dict], None]
    refuse: Callable[[Question, str], None]
    concurrency: int
    request_seconds: int
    place: str = field(init=False)

    def __post_init__(self) -> None:
        self.place = f"endpoint {self.backend.url}" if self.settings.endpoint else "vLLM"

    async def ask(self, questions: Sequence[Question], probe: bool) -> None:
        """Ask `questions`; with `probe` the shortest goes ahead alone, to see whether the server takes such requests.

        Raises:
            UserError: the key or the way of asking is refused.
            Unanswered: retries did not help; what came before is kept.
        """
        async with self._client() as client:
            if probe:
                first = min(questions, key=lambda question: len(question.text))
                await self._probe(client, first)
                questions = [question for question in questions if question is not first]
            waiting = iter(questions)
            count = min(self.concurrency, MOST_AT_ONCE, len(questions))
            workers = [asyncio.create_task(self._work(client, waiting)) for _ in range(count)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def without_key(self, message: object) -> str:
        """`message` in one line of at most 300 characters, the key struck out."""
        line = " ".join(str(message).split())
        return (line.replace(self.backend.key, "…") if self.backend.key else line)[:300]

    def _client(self) -> openai.AsyncOpenAI:
        for name in ("openai", "httpx2", "httpcore2"):  # whatever OPENAI_LOG says: no transcripts, no headers in a log
            logging.getLogger(name).setLevel(logging.WARNING)
        return openai.AsyncOpenAI(
            base_url=self.backend.url,
            api_key=self.backend.key or "none",  # or else it takes OPENAI_API_KEY, which is not meant for this server
            max_retries=RETRIES,
            timeout=self.request_seconds,
            # A proxy that the environment names is not for our own server on loopback.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=self.settings.endpoint is not None),
        )

    async def _work(self, client: openai.AsyncOpenAI, waiting: Iterator[Question]) -> None:
        for question in waiting:
            try:
                self.keep(question, await self._answer(client, question))
            except Refused as error:
                self.refuse(question, str(error))

    async def _probe(self, client: openai.AsyncOpenAI, question: Question) -> None:
        endpoint = self.settings.endpoint
        try:
            row = await self._answer(client, question)
        except Refused as error:
            keys = "`endpoint.url`, `endpoint.parameters` or `prompt`" if endpoint else "`prompt` or `server`"
            raise UserError(f"{self.place}: refuses the requests ({error}); correct {keys}") from None
        if self.settings.prompt.mode == "scored" and row["letters"] is None:
            raise UserError(f"{self.place}: tells no log-probabilities; set `prompt: {{mode: word}}` or ask another")
        self.keep(question, row)

    async def _answer(self, client: openai.AsyncOpenAI, question: Question) -> dict:
        """The answer to `question` as a row of `answers.ANSWERS`.

        Raises:
            Refused: the server will not answer this request.
            Unanswered, UserError: as `ask`.
        """
        body = self.body(question)
        headers = None if self.backend.key else {"Authorization": openai.Omit()}
        begin, asked_at = time.monotonic(), datetime.now(UTC).isoformat()
        try:
            completion = await client.chat.completions.create(
                model=self.backend.model, messages=body["messages"], extra_headers=headers, extra_body=body
            )
        except openai.APIStatusError as error:
            raise self._judged(error) from None
        except openai.APIConnectionError as error:
            raise Unanswered(self.without_key(error.__cause__ or error) or "no answer in time") from None
        except ValueError as error:  # JSON that is none
            raise Refused(self.without_key(error)) from None
        return {
            "request": question.key,
            "software": self.backend.software,
            "user": body["messages"][-1]["content"],
            "seconds": time.monotonic() - begin,
            "asked_at": asked_at,
            **self._read(completion, len(question.order)),
        }

    def _read(self, completion: ChatCompletion | str, options: int) -> dict:
        choice = next(iter(getattr(completion, "choices", None) or []), None)
        if choice is None or choice.message is None:  # a page of HTML, or an error of a server behind the server
            raise Refused(self.without_key(f"no answer of chat completions: {completion}"))
        first = next(iter((choice.logprobs and choice.logprobs.content) or []), None)
        listed = None if first is None else [(token.token, token.logprob) for token in first.top_logprobs]
        usage = completion.usage
        return {
            "model": completion.model,
            "answer": choice.message.content,
            "finish_reason": choice.finish_reason,
            "letters": None if listed is None else json.dumps(prompts.option_logprobs(listed, options)),
            "prompt_tokens": usage and usage.prompt_tokens,
            "generated_tokens": usage and usage.completion_tokens,
        }

    def _judged(self, error: openai.APIStatusError) -> Exception:
        """What a status that retries did not change means."""
        message = error.body.get("message") if isinstance(error.body, dict) else None
        reason = f"HTTP {error.status_code}: {self.without_key(message or error)}"
        endpoint = self.settings.endpoint
        if error.status_code in REQUEST_REFUSED:
            return Refused(reason)
        if error.status_code in KEY_REFUSED:
            if endpoint and endpoint.key_variable:
                fix = f"put a valid one in {endpoint.key_variable} (`endpoint.key_variable`)"
            else:
                fix = "name the environment variable that holds it in `endpoint.key_variable`"
            return UserError(f"{self.place}: refuses the key ({reason}); {fix}")
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return Unanswered(reason)
        return UserError(f"{self.place}: refuses the requests ({reason}); correct `model` or `endpoint.url`")
