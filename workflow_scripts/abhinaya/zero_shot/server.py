"""Servers with OpenAI's chat completions API: a vLLM server started by the job, or an existing endpoint."""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.pretrained import hub
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import process_guard
from abhinaya.zero_shot.vllm_args import HOST, SERVED, command, environment, is_for_gpus, version

MAX_PORTS = 5  # ports to try
MAX_FAILURES = 5  # internal errors of a running server before giving up
POLL_SECONDS = 1.0
MAX_REASON = 300  # characters
REASON = re.compile(r"\b(?:\w*(?:Error|Exception)|error): .+|Value error, .+|^\w*(?:Error|Exception)$")
VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")  # unlike an API key
HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARNING)\b")
NO_REASON = "root cause"  # in vLLM's message that only refers to an earlier error


@contextmanager
def connect(settings: ZeroShotSystem, log: Path, cpus: int, gpus: int, start_minutes: int) -> Iterator["Backend"]:
    """The server for `settings`, ready for requests; a server started here is stopped afterwards.

    Args:
        log: file for the output of vLLM.
        cpus: CPU cores of vLLM if it has no GPU.
        gpus: GPUs of vLLM, with one shard of the model each.
        start_minutes: timeout for loading the model, once it is downloaded.

    Raises:
        UserError: the key, vLLM, GPUs or the model are not available, the download fails, or the server does not start.
    """
    if settings.endpoint is not None:
        yield Remote(settings.endpoint.url, settings.model, key(settings.endpoint.key_variable))
        return
    _check_machine(cpus, gpus)
    commit = hub.check_access(settings.model, settings.revision)
    if commit and not hub.cached_folder(settings.model, commit):
        _log(f"downloading {settings.model}")  # here, because its time is not limited by `start_minutes`
        hub.fetch(settings.model, commit)
    server = Vllm(settings, hub.as_folder(settings.model), commit, log, cpus, gpus, start_minutes)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class Remote:
    """An existing server. The key is never logged."""

    url: str  # base URL, …/v1
    model: str  # the server's name of the model
    key: str | None = field(repr=False)

    @property
    def software(self) -> str:
        """Recorded with the responses."""
        return self.url

    def alive(self) -> bool:
        return True

    def restart(self) -> None:
        raise UserError(f"endpoint {self.url}: does not respond; check the server and the key, then run again")

    def describe(self) -> dict[str, Any]:
        """Information for labelling.json."""
        return {"kind": "endpoint", "url": self.url}


@dataclass
class Vllm:
    """A vLLM server on loopback; a guard process stops it when this process ends."""

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
    _log_start: int = field(default=0, init=False, repr=False)  # offset in bytes of this start's log

    @property
    def software(self) -> str:
        """Recorded with the responses."""
        return f"vllm {version()}{f', model commit {self.commit}' if self.commit else ''}"

    @property
    def url(self) -> str:
        """The base URL, which changes after a restart."""
        return f"http://{HOST}:{self.port}/v1"

    def start(self) -> None:
        """Start the server and wait for its first completion.

        Raises:
            UserError: it ended, rejects a completion, or takes longer than `start_minutes`.
        """
        _log(f"starting vLLM with {self.settings.model}; log: {self.log}")
        begin = time.monotonic()
        for _ in range(MAX_PORTS):
            self.port = _free_port()
            self._launch()
            if self._wait(begin + 60 * self.start_minutes):
                self.start_seconds += time.monotonic() - begin
                self._measure()
                _log(f"vLLM is ready after {time.monotonic() - begin:.0f} s")
                return
            self.stop()
        raise UserError(f"vLLM: {MAX_PORTS} free ports were taken by other processes; run the job again")

    def stop(self) -> None:
        """End the server and all its processes, by closing the guard's pipe."""
        if self._process is None:
            return
        self._measure()
        self._process.stdin.close()
        self._process.wait()
        self._process = None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None and self._healthy(timeout=30)

    def restart(self) -> None:
        """Restart a server that ended; allowed once.

        Raises:
            UserError: it was restarted before, or as `start`.
        """
        reason = self._reason()
        if self.restarts:
            raise UserError(f"vLLM ended unexpectedly twice: {reason}; see {self.log}")
        _log(f"vLLM ended unexpectedly: {reason}; restarting")
        self.stop()
        self.restarts += 1
        self.start()

    def describe(self) -> dict[str, Any]:
        """`peak_memory_mb` is the sum of the processes' peaks (VmHWM): an upper bound due to shared pages."""
        self._measure()
        return {
            "kind": "vllm",
            "version": version(),
            "revision": self.commit,
            "start_seconds": round(self.start_seconds, 1),
            "restarts": self.restarts,
            "peak_memory_mb": self.peak_memory_mb,
        }

    def _launch(self) -> None:
        served = command(self.settings, self.place, self.commit, self.port, self.gpus)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab" if self.restarts else "wb") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    # Isolated: the guard imports only the standard library.
                    [sys.executable, "-I", process_guard.__file__, *served],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # the guard must outlive the job's process group
                    env=os.environ | environment(self.settings, self.cpus, self.gpus) | {"VLLM_API_KEY": self.key},
                )
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written ({error.strerror}); give another path") from None

    def _wait(self, deadline: float) -> bool:
        """Wait for one completion, since `/health` succeeds before the engine has computed anything.

        Return False if another process uses the port.
        """
        request = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        failures = 0
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                if "ddress already in use" in self._output():
                    return False
                raise UserError(f"vLLM failed to start: {self._reason()}; see {self.log}")
            if self._healthy(timeout=POLL_SECONDS):
                with suppress(httpx2.RequestError):  # it may be ending; checked in the next iteration
                    timeout = max(POLL_SECONDS, deadline - time.monotonic())
                    reply = self._send("POST", "/v1/chat/completions", timeout, request)
                    if reply.is_success:
                        return True
                    if reply.status_code == httpx2.codes.UNAUTHORIZED:
                        return False  # from another server: the job's own accepts the key
                    failures += 1
                    if reply.is_client_error or failures == MAX_FAILURES:
                        reason = f"HTTP {reply.status_code}: {' '.join(reply.text.split())}"[:MAX_REASON]
                        raise UserError(f"vLLM: test request to {self.settings.model} failed: {reason}; see {self.log}")
            time.sleep(POLL_SECONDS)
        message = f"vLLM was not ready within {self.start_minutes} minutes; see {self.log}"
        raise UserError(f"{message}, or increase `resources.start_minutes`")

    def _healthy(self, timeout: float) -> bool:
        try:
            return self._send("GET", "/health", timeout).is_success
        except httpx2.RequestError:
            return False

    def _send(self, method: str, path: str, timeout: float, body: dict[str, Any] | None = None) -> httpx2.Response:
        """Send a request to the server, without a proxy from the environment."""
        headers, url = {"Authorization": f"Bearer {self.key}"}, f"http://{HOST}:{self.port}{path}"
        return httpx2.request(method, url, headers=headers, json=body, timeout=timeout, trust_env=False)

    def _output(self) -> str:
        """The log of this start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _reason(self) -> str:
        """The last error in the log of this start, else how the server ended."""
        lines = [line for line in self._output().splitlines() if not HARMLESS.search(line)]
        errors = [match[0] for line in lines if (match := REASON.search(line))]
        reasons = [reason for reason in errors if NO_REASON not in reason] or errors
        if reasons:
            return reasons[-1][:MAX_REASON]
        status = self._process.poll()
        if status is None:
            return "it does not respond"
        return f"ended by {signal.Signals(status - 128).name}" if status > 128 else f"exit status {status}"

    def _measure(self) -> None:
        """Update `peak_memory_mb` from the server's processes."""
        try:
            members = psutil.Process(self._process.pid).children(recursive=True) if self._process else []
        except psutil.NoSuchProcess:
            members = []
        self.peak_memory_mb = max(self.peak_memory_mb, sum(_peak_kb(member.pid) for member in members) // 1024)


Backend = Remote | Vllm


def key(variable: str | None) -> str | None:
    """The API key in an environment variable.

    Raises:
        UserError: the variable is not set, or its value is not valid in an HTTP header.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        name = variable if VARIABLE_NAME.fullmatch(variable) else "NAME"  # else it may be the key: do not print it
        raise UserError(f"endpoint.key_variable: {name} is not set; give a variable's name and set it: export {name}=…")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"endpoint.key_variable: the value of {variable} is not a valid key; set it again")
    return key


def _check_machine(cpus: int, gpus: int) -> None:
    if importlib.util.find_spec("vllm") is None:
        raise UserError("vLLM is not installed; install it, or use an `endpoint`")
    if not gpus and is_for_gpus():
        raise UserError("resources.gpu: 0, but the installed vLLM needs GPUs; set 1 or more")
    if gpus:
        from abhinaya.runtime.devices import claim  # imports torch, which is not needed without a GPU

        claim(cpus, gpus)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _peak_kb(process: int) -> int:
    """Peak resident memory of a process in kB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) if peak else 0


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
