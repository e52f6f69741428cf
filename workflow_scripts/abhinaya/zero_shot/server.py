"""A server that answers OpenAI's chat completions: a vLLM that the job starts for itself, or one that is there."""

import http.client
import importlib.util
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil
from openai import APIConnectionError, APIStatusError, AuthenticationError, DefaultHttpxClient, OpenAI

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.pretrained.hub import as_folder, check_access
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import process_guard
from abhinaya.zero_shot.vllm_args import HOST, SERVED, command, environment, is_for_gpus, version

PORTS = 5  # ports tried
FAILURES = 5  # internal errors of a server that stays up, until it is given up
POLL = 1.0  # seconds
MOST = 300  # characters of a reason
REASON = re.compile(r"\b(?:\w*(?:Error|Exception)|error): .+|Value error, .+|^\w*(?:Error|Exception)$")
PLAIN = re.compile(r"[A-Z_][A-Z0-9_]*")  # as variables are named, and keys are not
HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARNING)\b")
HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}  # apart from the key
NO_REASON = "root cause"  # what vLLM's server says of its dead engine: see the root cause above


class Backend(Protocol):
    """A server that answers OpenAI's chat completions."""

    url: str  # base address, …/v1; another one after a restart
    key: str | None  # never logged, never in repr
    model: str  # its name for the model
    software: str  # what answers, for the record

    def alive(self) -> bool: ...

    def restart(self) -> None:
        """Raises a `UserError` when it may not or cannot."""

    def describe(self) -> dict[str, Any]:
        """For the labelling's record."""


class Client(OpenAI):
    """openai's client without the headers that it takes from the environment for OpenAI's own servers."""

    default_headers = HEADERS


@contextmanager
def connect(settings: ZeroShotSystem, log: Path, cpus: int, gpus: int, start_minutes: int) -> Iterator[Backend]:
    """The server for `settings`, ready for requests; one of our own is gone with all its processes afterwards.

    Args:
        log: takes the output of our own server.
        cpus: cores of our own server, when it has no GPU.
        gpus: GPUs of our own server, one shard of the model on each.
        start_minutes: how long our own server may take to load its model.

    Raises:
        UserError: no key, no vLLM, no GPUs, no access to the model; the server does not start, and why.
    """
    if settings.endpoint is not None:
        yield Remote(settings.endpoint.url, settings.model, key(settings.endpoint.key_variable))
        return
    _check_machine(cpus, gpus)
    commit = check_access(settings.model, settings.revision)
    server = Vllm(settings, as_folder(settings.model), commit, log, cpus, gpus, start_minutes)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class Remote:
    """A server that others look after."""

    url: str
    model: str
    key: str | None = field(repr=False)

    @property
    def software(self) -> str:
        return self.url

    def alive(self) -> bool:
        return True

    def restart(self) -> None:
        raise UserError(f"endpoint {self.url}: does not answer; see whether it runs and the key is right, then go on")

    def describe(self) -> dict[str, Any]:
        return {"kind": "endpoint", "url": self.url}


@dataclass
class Vllm:
    """A vLLM of our own on loopback, under a guard that ends it with this process, and its key."""

    settings: ZeroShotSystem = field(repr=False)
    place: str  # folder or published name
    commit: str | None  # of a published model
    log: Path
    cpus: int
    gpus: int
    start_minutes: int
    model: str = SERVED
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    port: int = field(default=0, init=False)
    restarts: int = field(default=0, init=False)
    start_seconds: float = field(default=0.0, init=False)  # of all starts
    peak_memory_mb: int = field(default=0, init=False)
    _process: subprocess.Popen | None = field(default=None, init=False, repr=False)
    _log_start: int = field(default=0, init=False, repr=False)  # bytes; where the log of this start begins

    @property
    def software(self) -> str:
        return f"vllm {version()}{f', model commit {self.commit}' if self.commit else ''}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def start(self) -> None:
        """Start the server and wait for its first completion.

        Raises:
            UserError: it ended, refuses a completion, or takes longer than `start_minutes`.
        """
        _say(f"starting vLLM with {self.settings.model}; its output: {self.log}")
        begin = time.monotonic()
        for _ in range(PORTS):
            self.port = _free_port()
            self._launch()
            if self._wait(begin + 60 * self.start_minutes):
                self.start_seconds += time.monotonic() - begin
                self._measure()
                _say(f"vLLM is ready after {time.monotonic() - begin:.0f} s")
                return
            self.stop()
        raise UserError(f"vLLM: {PORTS} free ports were taken before it had them; run the job again")

    def stop(self) -> None:
        """End the server and all its processes, by closing the guard's lifeline."""
        if self._process is None:
            return
        self._measure()
        self._process.stdin.close()
        self._process.wait()
        self._process = None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None and self._healthy(timeout=30)

    def restart(self) -> None:
        """Start a server that died once more, and only once.

        Raises:
            UserError: it died before; or as `start`.
        """
        reason = self._reason()
        if self.restarts:
            raise UserError(f"vLLM died twice: {reason}; see {self.log}")
        _say(f"vLLM died: {reason}")
        self.stop()
        self.restarts += 1
        self.start()

    def describe(self) -> dict[str, Any]:
        """`peak_memory_mb` is the sum of the processes' own peaks (VmHWM): an upper bound, shared pages count twice."""
        self._measure()
        return {
            "kind": "vllm",
            "version": version(),
            "revision": self.commit,
            "start_seconds": round(self.start_seconds, 1),
            "restarts": self.restarts,
            "peak_memory_mb": self.peak_memory_mb,
        }

    def _command(self) -> list[str]:
        return command(self.settings, self.place, self.commit, self.port, self.gpus)

    def _launch(self) -> None:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab" if self.restarts else "wb") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    # Isolated: the guard sees no module but Python's own.
                    [sys.executable, "-I", process_guard.__file__, *self._command()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # who kills the job's process group must not kill the guard first
                    env=os.environ | environment(self.settings, self.cpus, self.gpus) | {"VLLM_API_KEY": self.key},
                )
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written ({error.strerror}); give another path") from None

    def _wait(self, deadline: float) -> bool:
        """Wait for one real completion, as `/health` is well before the engine has shown that it can compute.

        False: somebody else has the port.
        """
        failures = 0
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                if "ddress already in use" in self._output():
                    return False
                raise UserError(f"vLLM ended while it started: {self._reason()}; see {self.log}")
            if self._healthy(timeout=POLL):
                try:
                    self._complete(deadline - time.monotonic())
                    return True
                except AuthenticationError:
                    return False  # our own server knows the key
                except APIStatusError as error:
                    failures += 1
                    if error.status_code < 500 or failures == FAILURES:
                        reason = " ".join(error.message.split())[:MOST]
                        raise UserError(
                            f"vLLM does not complete a chat with {self.settings.model}: {reason}; see {self.log}"
                        ) from None
                except APIConnectionError:
                    pass  # it may be ending; the next round tells
            time.sleep(POLL)
        raise UserError(
            f"vLLM was not ready within {self.start_minutes} minutes; see {self.log}, or raise "
            "`resources.start_minutes`"
        )

    def _healthy(self, timeout: float) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        with closing(connection):
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    def _complete(self, timeout: float) -> None:
        # A proxy that the environment names is not for loopback.
        with Client(
            base_url=self.url,
            api_key=self.key,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultHttpxClient(trust_env=False),
        ) as client:
            client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1
            )

    def _output(self) -> str:
        """What this start has logged."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _reason(self) -> str:
        """The last error in the log of this start, or else how the server ended."""
        lines = [line for line in self._output().splitlines() if not HARMLESS.search(line)]
        found = [match[0] for line in lines if (match := REASON.search(line))]
        told = [reason for reason in found if NO_REASON not in reason] or found
        if told:
            return told[-1][:MOST]
        status = self._process.poll()
        if status is None:
            return "it answers no more"
        return f"ended by {signal.Signals(status - 128).name}" if status > 128 else f"exit status {status}"

    def _measure(self) -> None:
        """Raise `peak_memory_mb` to what the server's processes have had."""
        try:
            members = psutil.Process(self._process.pid).children(recursive=True) if self._process else []
        except psutil.NoSuchProcess:
            members = []
        self.peak_memory_mb = max(self.peak_memory_mb, sum(_peak_kb(member.pid) for member in members) // 1024)


def key(variable: str | None) -> str | None:
    """The key that an environment variable holds.

    Raises:
        UserError: it holds none, or what no HTTP header can carry (whose error message would show it).
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key and not PLAIN.fullmatch(variable):  # it may be the key itself
        raise UserError("endpoint.key_variable: names a variable that is not set; put the key in it, not here")
    if not key:
        raise UserError(f"endpoint.key_variable: {variable} is not set; put the key in it: export {variable}=…")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"endpoint.key_variable: {variable} holds characters that no key has; set it again")
    return key


def _check_machine(cpus: int, gpus: int) -> None:
    if importlib.util.find_spec("vllm") is None:
        raise UserError("vLLM is not installed here; install it, or name an `endpoint` to ask instead")
    if not gpus and is_for_gpus():
        raise UserError("resources.gpu: 0, but the vLLM installed here computes on GPUs; set 1 or more")
    if gpus:
        from abhinaya.runtime.devices import (
            claim,  # late: torch takes seconds, and without a GPU only the server needs it
        )

        claim(cpus, gpus)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _peak_kb(process: int) -> int:
    """The most memory that a process has had resident, in kB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) if peak else 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
