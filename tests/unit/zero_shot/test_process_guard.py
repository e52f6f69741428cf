"""The guard with real processes: the group ends with the starting process and with the command."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abhinaya.zero_shot import process_guard
from support.processes import is_gone, wait

GUARD = [sys.executable, "-I", process_guard.__file__, "--grace", "1"]
# A leader and its child, which write their process ids; `mode` is what the leader then does.
LEADER = """
import os, pathlib, signal, subprocess, sys, time
folder, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
if mode == "ignores SIGTERM":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
(folder / "child").write_text(str(child.pid))
(folder / "new").write_text(str(os.getpid()))
(folder / "new").rename(folder / "leader")
if mode == "crash":
    sys.exit(7)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(300)
"""
STARTER = """
import subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(process.pid, flush=True)
process.wait()
"""


def command(folder: Path, mode: str) -> list[str]:
    return [*GUARD, sys.executable, "-c", LEADER, str(folder), mode]


def members(folder: Path) -> list[int]:
    """The process ids of the leader and its child, once both run."""
    wait((folder / "leader").exists)
    return [int((folder / name).read_text()) for name in ("leader", "child")]


def test_all_processes_end_with_a_killed_starter(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, *command(tmp_path, "sleep")], stdout=subprocess.PIPE, text=True
    )
    guard = int(starter.stdout.readline())
    processes = [guard, *members(tmp_path)]
    assert not any(is_gone(process) for process in processes)
    starter.kill()
    starter.communicate()
    wait(lambda: all(is_gone(process) for process in processes))


@pytest.mark.parametrize(("mode", "status"), [("crash", 7), ("killed", 128 + signal.SIGKILL)])
def test_group_ends_with_its_leader_and_the_status_is_returned(tmp_path: Path, mode: str, status: int) -> None:
    process = subprocess.Popen(command(tmp_path, mode), stdin=subprocess.PIPE)
    assert process.wait(20) == status
    assert all(is_gone(member) for member in members(tmp_path))


def test_closing_the_pipe_ends_the_group(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, "sleep"), stdin=subprocess.PIPE)
    group = members(tmp_path)
    process.stdin.write(b"ignored input")
    process.stdin.flush()
    time.sleep(0.3)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert all(is_gone(member) for member in group)


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, "ignores SIGTERM"), stdin=subprocess.PIPE)
    group = members(tmp_path)
    start = time.monotonic()
    process.stdin.close()
    assert process.wait(20) == 128 + signal.SIGKILL
    assert time.monotonic() - start >= 1
    assert all(is_gone(member) for member in group)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_guard_ends_the_group(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(command(tmp_path, "sleep"), stdin=subprocess.PIPE)
    group = members(tmp_path)
    process.send_signal(number)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert all(is_gone(member) for member in group)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signal_ignored_by_the_starter_ends_the_group(tmp_path: Path, number: int) -> None:
    """`nohup` and a shell's background jobs pass on ignored signals; the guard and its command must not keep them."""
    ignoring = [
        "sh",
        "-c",
        f"trap '' {signal.Signals(number).name[3:]}; exec \"$@\"",
        "sh",
        *command(tmp_path, "sleep"),
    ]
    process = subprocess.Popen(ignoring, stdin=subprocess.PIPE)
    group = members(tmp_path)
    ignored = int(re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{group[1]}/status").read_text())[1], 16)
    assert not ignored & 1 << number - 1
    process.send_signal(number)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert all(is_gone(member) for member in group)


def test_output_and_environment_pass_through() -> None:
    code = "import os, sys; print(os.environ['WORD']); print('two', file=sys.stderr); print(sys.stdin.read() == '')"
    done = _run([*GUARD, sys.executable, "-c", code], os.environ | {"WORD": "one"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\nTrue\n", "two\n")


def _run(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run to the end with the pipe held open."""
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    status = process.wait(20)
    output, errors = process.stdout.read(), process.stderr.read()
    process.stdin.close()
    return subprocess.CompletedProcess(arguments, status, output, errors)


def test_command_that_cannot_be_executed_is_reported() -> None:
    done = _run([*GUARD, "/no/such/program"])
    assert done.returncode == 127
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: /no/such/program: ")
    assert "give a COMMAND" in _run(GUARD).stderr


def test_runs_as_a_module_without_dependencies(tmp_path: Path) -> None:
    root = Path(process_guard.__file__).parents[2]
    process = _run(
        [sys.executable, "-m", "abhinaya.zero_shot.process_guard", "true"], os.environ | {"PYTHONPATH": str(root)}
    )
    assert (process.returncode, process.stderr) == (0, "")
    loaded = subprocess.run(
        [sys.executable, "-S", "-I", process_guard.__file__, "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "COMMAND" in loaded.stdout  # -S: without the installed packages
