"""A small real server of OpenAI's chat completions, whose answers a test decides."""

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RETRY_AT_ONCE = {"retry-after-ms": "1"}


@dataclass
class Reply:
    """What the server does with a request: `content` (and `logprobs`) or, with another status, `message`."""

    content: str | None = None
    logprobs: dict[str, float] | None = None  # token -> log-probability
    status: int = 200
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds
    close: bool = False  # close the connection instead
    raw: str | None = None  # this body instead, as HTML
    finish_reason: str = "stop"


@dataclass
class ReceivedRequest:
    """A request as it arrived."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def user(self) -> str:
        return self.body["messages"][-1]["content"]

    @property
    def text(self) -> str:
        return self.user.removeprefix("sentence: ")

    @property
    def choice(self) -> list[str] | None:
        return self.body.get("structured_outputs", {}).get("choice")


class ChatServer:
    """Serves on a free port of loopback while its block runs; `received` holds all requests in the order of arrival."""

    def __init__(self, rule: Callable[[ReceivedRequest], Reply]) -> None:
        self.rule = rule
        self.received: list[ReceivedRequest] = []
        self.open = self.most_open = 0
        self.connections = 0  # made so far
        self.lock = threading.Lock()

    def __enter__(self) -> "ChatServer":
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet

            def setup(self) -> None:
                super().setup()
                with chat.lock:
                    chat.connections += 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                chat._answer(self, ReceivedRequest(body, {name.lower(): value for name, value in self.headers.items()}))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed

        self.http = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.received]

    def _answer(self, handler: BaseHTTPRequestHandler, request: ReceivedRequest) -> None:
        with self.lock:
            self.received.append(request)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            reply = self.rule(request)
            time.sleep(reply.delay)
        finally:
            with self.lock:
                self.open -= 1
        if reply.close:
            handler.close_connection = True
            handler.connection.close()
            return
        content = reply.raw if reply.raw is not None else json.dumps(_completion(request, reply))
        handler.send_response(reply.status)
        handler.send_header("content-type", "application/json" if reply.raw is None else "text/html")
        handler.send_header("content-length", str(len(content.encode())))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content.encode())


def letters(probabilities: dict[str, float]) -> Reply:
    """An answer in scored mode: the likeliest letter, and the log-probabilities of all."""
    logprobs = {letter: math.log(value) if value else -9999.0 for letter, value in probabilities.items()}
    return Reply(max(probabilities, key=probabilities.get), logprobs)


def _completion(request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        return {"error": {"message": reply.message, "type": "error", "code": reply.status}}
    listed = None
    if reply.logprobs is not None:
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in reply.logprobs.items()]
        top = sorted(top, key=lambda each: -each["logprob"])[: request.body["top_logprobs"]]
        listed = {"content": [{"token": reply.content, "logprob": 0.0, "bytes": None, "top_logprobs": top}]}
    message = {"role": "assistant", "content": reply.content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "tested",
        "choices": [{"index": 0, "message": message, "logprobs": listed, "finish_reason": reply.finish_reason}],
        "usage": {"prompt_tokens": len(request.user.split()), "completion_tokens": 2, "total_tokens": 0},
    }
