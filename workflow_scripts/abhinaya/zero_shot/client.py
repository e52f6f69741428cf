"""Sending chat requests to a server: concurrency, retries, rate limits, rejected requests and fatal errors."""

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
from abhinaya.zero_shot.server import Backend
from abhinaya.zero_shot.tasks import Request

MAX_RETRIES = 6  # by openai's client, after 0.5, 1, 2, 4, 8 and 8 s, or as Retry-After says (up to 2 minutes)
RATE_LIMIT_PAUSE = 20.0  # seconds for all requests after a rate limit; limits are mostly per minute
MAX_RATE_LIMITED = 600.0  # seconds without a response before giving up
MAX_PROBES = 3  # texts tried first; a single one may be rejected by a content filter
HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}  # except the key
KEY_REFUSED = (401, 403)
REQUEST_REFUSED = (400, 413, 422)
NOT_CONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout)  # the latter, too, for a refused connection by aiohttp


class NoResponse(Exception):
    """The server does not respond, also after retries."""


class RateLimited(NoResponse):
    """The server limits the rate of requests."""


class Refused(Exception):
    """The server rejects this request."""


class Client(openai.AsyncOpenAI):
    """openai's client without headers from environment variables, which are meant for OpenAI's servers.

    It would send OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS to any server.
    """

    default_headers = HEADERS


@dataclass
class ChatClient:
    """Sends up to `concurrency` concurrent requests to one server.

    Args:
        body: the fields of a request, except the model.
        keep: called with each response (keys: columns of `response_store.RESPONSES`).
        refuse: called with each rejected request and the reason.
        answered: whether the server has responded before, so that key and settings are valid.
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
    _resume: float = field(default=0.0, init=False)  # monotonic time until which all requests wait
    _limited: float | None = field(default=None, init=False)  # start of the rate limit

    def __post_init__(self) -> None:
        self.place = f"endpoint {self.backend.url}" if self.settings.endpoint else "vLLM"

    async def send_all(self, requests: Sequence[Request]) -> None:
        """Send `requests`; first a single short one, unless the server has responded before.

        Raises:
            UserError: the key or the requests are rejected.
            NoResponse: the server does not respond after retries; earlier responses are kept.
        """
        async with self._client() as client:
            if not self.answered:
                probed = await self._probe(client, requests)
                requests = [request for request in requests if request not in probed]
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
        """`message` in one line of at most 300 characters, with the key removed."""
        line = " ".join(str(message).split())
        return (line.replace(self.backend.key, "…") if self.backend.key else line)[:300]

    def _client(self) -> Client:
        for name in ("openai", "httpx2", "httpcore2"):  # despite OPENAI_LOG: no transcripts and headers in logs
            logging.getLogger(name).setLevel(logging.WARNING)
        return Client(
            base_url=self.backend.url,
            api_key=self.backend.key or "none",  # else OPENAI_API_KEY would be sent to this server
            max_retries=MAX_RETRIES,
            timeout=self.request_seconds,
            # aiohttp, since httpx2's own connections take three times the CPU time of a request and check all idle ones
            # at each request. No proxy from the environment for a server on loopback.
            http_client=openai.DefaultAioHttpClient(trust_env=self.settings.endpoint is not None),
        )

    async def _work(self, client: Client, waiting: Iterator[Request]) -> None:
        for request in waiting:
            try:
                self.keep(request, await self._send_patiently(client, request))
            except Refused as error:
                self.refuse(request, str(error))

    async def _probe(self, client: Client, requests: Sequence[Request]) -> list[Request]:
        """Send one request, or further ones if it is rejected; return those that were sent.

        Raises:
            UserError: all are rejected, or the response is incomplete.
        """
        by_text = {request.text: request for request in requests}
        texts = sorted(by_text, key=len)
        chosen = [by_text[texts[number * len(texts) // MAX_PROBES]] for number in range(MAX_PROBES)]
        refused: dict[Request, str] = {}
        for request in dict.fromkeys(chosen):
            try:
                row = await self._send_patiently(client, request)
            except Refused as error:
                refused[request] = str(error)
                continue
            if self.settings.prompt.mode == "scored" and row["letters"] is None:
                fix = "set `prompt: {mode: word}` or use another server"
                raise UserError(f"{self.place}: returns no log-probabilities; {fix}")
            self.keep(request, row)
            for each, reason in refused.items():
                self.refuse(each, reason)
            return [request, *refused]
        keys = "`endpoint.url`, `endpoint.parameters` or `prompt`" if self.settings.endpoint else "`prompt` or `server`"
        reason = next(iter(refused.values()))
        raise UserError(f"{self.place}: rejects the requests ({reason}); correct {keys}")

    async def _send_patiently(self, client: Client, request: Request) -> dict:
        """As `_send`; while the server limits the rate, all requests wait and are then repeated."""
        while True:
            await asyncio.sleep(max(0.0, self._resume - time.monotonic()))
            try:
                row = await self._send(client, request)
            except RateLimited as error:
                now = time.monotonic()
                if self._limited is None:
                    self._limited = now
                if now - self._limited >= MAX_RATE_LIMITED:
                    raise
                if not self._resume:
                    print(f"{self.place}: rate limit ({error}); continuing more slowly", file=sys.stderr)
                self._resume = now + RATE_LIMIT_PAUSE
            else:
                self._limited, self.answered = None, True
                return row

    async def _send(self, client: Client, request: Request) -> dict:
        """The response to `request` as a row of `response_store.RESPONSES`.

        Raises:
            Refused: the server rejects this request.
            NoResponse, UserError: as `send_all`.
        """
        body = self.body(request)
        options = {} if self.backend.key else {"headers": {"Authorization": openai.Omit()}}
        begin, requested_at = time.monotonic(), datetime.now(UTC).isoformat()
        try:
            # Not the client's chat method, which would parse the response as OpenAI's own format.
            response = await client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body={"model": self.backend.model, **body},
                options=options,
            )
        except openai.APIStatusError as error:
            raise self._error_for(error) from None
        except openai.APIConnectionError as error:
            reason = self.without_key(error.__cause__ or error) or "timeout"
            if self.settings.endpoint and not self.answered and isinstance(error.__cause__, NOT_CONNECTED):
                fix = "correct `endpoint.url` or start the server"
                raise UserError(f"{self.place}: connection failed ({reason}); {fix}") from None
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
        """Parse a response; missing or non-standard fields are null.

        Raises:
            Refused: it is no chat completion, or contains no answer; such a response is not stored.
        """
        try:
            content = json.loads(reply)
        except ValueError:
            content = None
        match content:
            case {"choices": [{"message": dict(message)} as choice, *_]}:
                usage = content.get("usage")
            case _:  # such as HTML, or an error of an upstream server
                raise Refused(self.without_key(f"not a chat completion: {reply}"))
        listed = _listed(choice.get("logprobs"))
        letters = None if listed is None else prompts.option_logprobs(listed, options)
        answer = _text(message.get("content"))
        if not letters and not (answer or "").strip():
            raise Refused(_without_answer(message, choice))
        return {
            "model": _text(content.get("model")),
            "answer": answer,
            "finish_reason": _text(choice.get("finish_reason")),
            "letters": None if letters is None else json.dumps(letters),
            "prompt_tokens": _count(usage, "prompt_tokens"),
            "generated_tokens": _count(usage, "completion_tokens"),
        }

    def _error_for(self, error: openai.APIStatusError) -> Exception:
        """The exception for an HTTP status that persisted after retries."""
        message = error.body.get("message") if isinstance(error.body, dict) else None
        reason = f"HTTP {error.status_code}: {self.without_key(message or error)}"
        endpoint = self.settings.endpoint
        if error.status_code in REQUEST_REFUSED or (error.status_code == 403 and self.answered):  # moderation
            return Refused(reason)
        if error.status_code in KEY_REFUSED:
            if endpoint and endpoint.key_variable:
                fix = f"set {endpoint.key_variable} (`endpoint.key_variable`) to a valid key"
            else:
                fix = "set `endpoint.key_variable` to the environment variable with the key"
            return UserError(f"{self.place}: rejects the key ({reason}); {fix}")
        if error.status_code == 429:
            return RateLimited(reason)
        if error.status_code in (408, 409) or error.status_code >= 500:
            return NoResponse(reason)
        return UserError(f"{self.place}: rejects the requests ({reason}); correct `model` or `endpoint.url`")


def _without_answer(message: dict[str, Any], choice: dict[str, Any]) -> str:
    """Why a response has no answer."""
    reason = _text(choice.get("finish_reason")) or "unknown"
    if refusal := _text(message.get("refusal")):
        return f"no answer, but a refusal: {' '.join(refusal.split())[:100]}"
    thinking = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    if reason == "length":
        what = "it was cut off while the model was reasoning" if thinking else "it was cut off"
        return f"no answer: {what} (finish_reason length); switch reasoning off or increase `max_tokens`"
    what = "only reasoning" if thinking else "an empty text"
    return f"no answer, but {what} (finish_reason {reason})"


def _text(value: Any) -> str | None:
    """A string, possibly given in parts; invalid UTF-8 (half a character) becomes a question mark."""
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
    """The most probable first tokens with log-probabilities; None if missing."""
    match logprobs:
        case {"content": [{"top_logprobs": [_, *_] as top}, *_]}:
            pairs = [(each.get("token"), each.get("logprob")) for each in top if isinstance(each, dict)]
            return [(token, float(x)) for token, x in pairs if isinstance(token, str) and isinstance(x, int | float)]
    return None
