"""Sending chat requests to a server: so many at once, with retries; what is refused, and what stops everything."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import prompts
from abhinaya.zero_shot.server import HEADERS, Backend
from abhinaya.zero_shot.tasks import Request

RETRIES = 6  # by openai's client, after 0.5, 1, 2, 4, 8 and 8 s, or when Retry-After says so (up to 2 minutes)
PAUSE = 20.0  # seconds that all wait when the server still limits the rate; limits are mostly so many a minute
PATIENCE = 600.0  # seconds of that without an answer, until it is given up: such a limit is none of minutes
PROBES = 3  # texts tried until one is answered: one alone may be what a content filter refuses
KEY_REFUSED = (401, 403)
REQUEST_REFUSED = (400, 413, 422)


class NoResponse(Exception):
    """The server gives no answer, however often it is asked."""


class Limited(NoResponse):
    """The server limits the rate of requests."""


class Refused(Exception):
    """The server will not answer this one request."""


class Client(openai.AsyncOpenAI):
    """openai's client without what it takes from the environment for OpenAI's own servers.

    It would send OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS to whichever server is asked.
    """

    default_headers = HEADERS


@dataclass
class ChatClient:
    """Asks one server, `concurrency` requests at once.

    Args:
        body: the fields of a request's request, apart from the model.
        keep: takes each answer (keys: columns of `answers.RESPONSES`) when it comes.
        refuse: takes each request that the server will not answer, and the reason.
        answered: whether it has answered before, so that key and way of asking are right.
    """

    backend: Backend
    settings: ZeroShotSystem
    body: Callable[[Request], dict[str, Any]]
    keep: Callable[[Request, dict], None]
    refuse: Callable[[Request, str], None]
    concurrency: int
    request_seconds: int
    answered: bool
    place: str = field(init=False)
    _resume: float = field(default=0.0, init=False)  # monotonic time until which all wait
    _limited: float | None = field(default=None, init=False)  # since when the server limits the rate

    def __post_init__(self) -> None:
        self.place = f"endpoint {self.backend.url}" if self.settings.endpoint else "vLLM"

    async def ask(self, requests: Sequence[Request]) -> None:
        """Ask `requests`; the shortest goes ahead alone, unless it is known that the server takes such requests.

        Raises:
            UserError: the key or the way of asking is refused.
            NoResponse: retries did not help; what came before is kept.
        """
        async with self._client() as client:
            if not self.answered:
                tried = await self._probe(client, requests)
                requests = [request for request in requests if request not in tried]
            waiting = iter(requests)
            count = min(self.concurrency, len(requests))
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

    def _client(self) -> Client:
        for name in ("openai", "httpx2", "httpcore2"):  # whatever OPENAI_LOG says: no transcripts, no headers in a log
            logging.getLogger(name).setLevel(logging.WARNING)
        return Client(
            base_url=self.backend.url,
            api_key=self.backend.key or "none",  # or else it takes OPENAI_API_KEY, which is not meant for this server
            max_retries=RETRIES,
            timeout=self.request_seconds,
            # A proxy that the environment names is not for our own server on loopback.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=self.settings.endpoint is not None),
        )

    async def _work(self, client: Client, waiting: Iterator[Request]) -> None:
        for request in waiting:
            try:
                self.keep(request, await self._patiently(client, request))
            except Refused as error:
                self.refuse(request, str(error))

    async def _probe(self, client: Client, requests: Sequence[Request]) -> list[Request]:
        """Ask one request, or others where the first is refused; those that were tried.

        Raises:
            UserError: all are refused, or the answer lacks what is needed.
        """
        by_text = {request.text: request for request in requests}
        texts = sorted(by_text, key=len)
        chosen = [by_text[texts[number * len(texts) // PROBES]] for number in range(PROBES)]
        refused: dict[Request, str] = {}
        for request in dict.fromkeys(chosen):
            try:
                row = await self._patiently(client, request)
            except Refused as error:
                refused[request] = str(error)
                continue
            if self.settings.prompt.mode == "scored" and row["letters"] is None:
                fix = "set `prompt: {mode: word}` or ask another"
                raise UserError(f"{self.place}: tells no log-probabilities; {fix}")
            self.keep(request, row)
            for each, reason in refused.items():
                self.refuse(each, reason)
            return [request, *refused]
        keys = "`endpoint.url`, `endpoint.parameters` or `prompt`" if self.settings.endpoint else "`prompt` or `server`"
        reason = next(iter(refused.values()))
        raise UserError(f"{self.place}: refuses the requests ({reason}); correct {keys}")

    async def _patiently(self, client: Client, request: Request) -> dict:
        """As `_answer`; while the server limits the rate all wait together, and go on."""
        while True:
            await asyncio.sleep(max(0.0, self._resume - time.monotonic()))
            try:
                row = await self._answer(client, request)
            except Limited as error:
                now = time.monotonic()
                if self._limited is None:
                    self._limited = now
                if now - self._limited >= PATIENCE:
                    raise
                if not self._resume:
                    print(f"{self.place}: limits the rate ({error}); going on as it allows", file=sys.stderr)
                self._resume = now + PAUSE
            else:
                self._limited, self.answered = None, True
                return row

    async def _answer(self, client: Client, request: Request) -> dict:
        """The answer to `request` as a row of `answers.RESPONSES`.

        Raises:
            Refused: the server will not answer this request.
            NoResponse, UserError: as `ask`.
        """
        body = self.body(request)
        headers = None if self.backend.key else {"Authorization": openai.Omit()}
        begin, requested_at = time.monotonic(), datetime.now(UTC).isoformat()
        try:
            # Not its own method for chats, which would read the answer as if it were always OpenAI's.
            response = await client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body={"model": self.backend.model, **body},
                options={"headers": headers} if headers else {},
            )
        except openai.APIStatusError as error:
            raise self._judged(error) from None
        except openai.APIConnectionError as error:
            reason = self.without_key(error.__cause__ or error) or "no answer in time"
            if self.settings.endpoint and not self.answered and isinstance(error.__cause__, httpx2.ConnectError):
                fix = "correct `endpoint.url` or start it"
                raise UserError(f"{self.place}: nobody answers there ({reason}); {fix}") from None
            raise NoResponse(reason) from None
        return {
            "request": request.key,
            "software": self.backend.software,
            "user": body["messages"][-1]["content"],
            "seconds": time.monotonic() - begin,
            "requested_at": requested_at,
            **self._read(response.text, len(request.order)),
        }

    def _read(self, reply: str, options: int) -> dict:
        """What a reply says, null where a server leaves it out or says it in its own way."""
        try:
            said = json.loads(reply)
        except ValueError:
            said = None
        match said:
            case {"choices": [{"message": dict(message)} as choice, *_]}:
                usage = said.get("usage")
            case _:  # a page of HTML, or an error of a server behind the server
                raise Refused(self.without_key(f"no answer of chat completions: {reply}"))
        listed = _listed(choice.get("logprobs"))
        return {
            "model": _text(said.get("model")),
            "answer": _text(message.get("content")),
            "finish_reason": _text(choice.get("finish_reason")),
            "letters": None if listed is None else json.dumps(prompts.option_logprobs(listed, options)),
            "prompt_tokens": _count(usage, "prompt_tokens"),
            "generated_tokens": _count(usage, "completion_tokens"),
        }

    def _judged(self, error: openai.APIStatusError) -> Exception:
        """What a status that retries did not change means."""
        message = error.body.get("message") if isinstance(error.body, dict) else None
        reason = f"HTTP {error.status_code}: {self.without_key(message or error)}"
        endpoint = self.settings.endpoint
        if error.status_code in REQUEST_REFUSED or (error.status_code == 403 and self.answered):  # moderation
            return Refused(reason)
        if error.status_code in KEY_REFUSED:
            if endpoint and endpoint.key_variable:
                fix = f"put a valid one in {endpoint.key_variable} (`endpoint.key_variable`)"
            else:
                fix = "name the environment variable that holds it in `endpoint.key_variable`"
            return UserError(f"{self.place}: refuses the key ({reason}); {fix}")
        if error.status_code == 429:
            return Limited(reason)
        if error.status_code in (408, 409) or error.status_code >= 500:
            return NoResponse(reason)
        return UserError(f"{self.place}: refuses the requests ({reason}); correct `model` or `endpoint.url`")


def _text(value: Any) -> str | None:
    """A text, which may come in parts; what UTF-8 cannot hold (half of a character) becomes a request mark."""
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case [*parts]:
            texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
            return _text("".join(texts)) if texts else None
    return None


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**63 else None


def _listed(logprobs: Any) -> list[tuple[str, float]] | None:
    """The likeliest tokens in the place of the first one, and their log-probabilities; None where none are told."""
    match logprobs:
        case {"content": [{"top_logprobs": [_, *_] as top}, *_]}:
            return [(each["token"], float(each["logprob"])) for each in top if _is_token(each)]
    return None


def _is_token(value: Any) -> bool:
    match value:
        case {"token": str(), "logprob": int() | float()}:
            return True
    return False
