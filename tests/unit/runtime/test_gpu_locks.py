"""Jobs of one machine take different GPUs by locks; the processes and lock files are real, the GPUs are names."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.runtime import gpu_locks
from abhinaya.runtime.errors import UserError

# Takes GPUs, names them, and holds them until its standard input ends.
JOB = """
import os, sys
from pathlib import Path
from abhinaya.runtime import gpu_locks
gpu_locks.FOLDER, gpu_locks.SECONDS = Path(sys.argv[1]), 0.02
gpu_locks.take(int(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "all") or "none", "torch" in sys.modules, flush=True)
sys.stdin.read()
"""
LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-0)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-1)
  MIG 1g.10gb     Device  0: (UUID: MIG-cccc)
"""


class Job:
    """A process that takes GPUs."""

    def __init__(self, folder: Path, count: int, **variables: str | None) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(gpu_locks.__file__).parents[2])} | variables
        environment = {name: value for name, value in environment.items() if value is not None}
        command = [sys.executable, "-c", JOB, str(folder / "locks"), str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def gpus(self) -> str:
        """The GPUs it took; blocks until then."""
        gpus, torch = self.process.stdout.readline().split()
        assert torch == "False"  # CUDA cannot have been initialized
        return gpus

    def waits(self) -> bool:
        """Whether it says that it waits; blocks until then."""
        return self.process.stderr.readline().startswith("waiting for ")

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs, outside SLURM; its folder."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n[ $1 = -L ] && cat <<'END'\n{LISTING}END\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_three_jobs_share_two_gpus(machine: Path) -> None:
    """Two jobs take one each; a third that needs two waits for both."""
    first, second = Job(machine, 1), Job(machine, 1)
    assert {first.gpus(), second.gpus()} == {"GPU-aaaa-0", "GPU-bbbb-1"}
    third = Job(machine, 2)
    assert third.waits()
    first.end()
    fourth = Job(machine, 1)  # the third holds nothing while it waits
    assert fourth.gpus() in {"GPU-aaaa-0", "GPU-bbbb-1"}
    second.end()
    fourth.end()
    assert third.gpus() == "GPU-aaaa-0,GPU-bbbb-1"
    third.end()


def test_a_killed_job_frees_its_gpus(machine: Path) -> None:
    holder = Job(machine, 2)
    assert holder.gpus() == "GPU-aaaa-0,GPU-bbbb-1"
    waiting = Job(machine, 1)
    assert waiting.waits()
    holder.process.send_signal(signal.SIGKILL)
    assert waiting.gpus() == "GPU-aaaa-0"
    holder.end()
    waiting.end()


def test_a_processs_children_do_not_hold_its_gpus(machine: Path) -> None:
    """Else a worker that survives a killed job would keep them."""
    code = JOB.replace("sys.stdin.read()", "os.fork() or os.execvp('sleep', ['sleep', '60']); sys.stdin.read()")
    holder = Job.__new__(Job)
    environment = os.environ | {"PYTHONPATH": str(Path(gpu_locks.__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    command = [sys.executable, "-c", code, str(machine / "locks"), "2"]
    holder.process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        assert holder.gpus() == "GPU-aaaa-0,GPU-bbbb-1"
        holder.process.kill()
        after = Job(machine, 2)
        assert after.gpus() == "GPU-aaaa-0,GPU-bbbb-1"
        after.end()
    finally:
        os.killpg(holder.process.pid, signal.SIGKILL)
        holder.process.wait()


def test_only_the_visible_gpus_are_taken(machine: Path) -> None:
    """Their names are kept; a number and a UUID of the same GPU share a lock."""
    by_number = Job(machine, 1, CUDA_VISIBLE_DEVICES="1")
    assert by_number.gpus() == "1"
    anywhere = Job(machine, 1)
    assert anywhere.gpus() == "GPU-aaaa-0"
    by_name = Job(machine, 1, CUDA_VISIBLE_DEVICES="GPU-bbbb-1")
    assert by_name.waits()
    for job in (by_number, anywhere, by_name):
        job.end()


def test_slurm_has_reserved_the_gpus_of_its_jobs(machine: Path) -> None:
    """Each job may see its GPU as number 0. In a larger allocation there is a choice, and so there are locks."""
    one, two = (Job(machine, 1, SLURM_JOB_ID=name, CUDA_VISIBLE_DEVICES="0") for name in "78")
    assert (one.gpus(), two.gpus()) == ("0", "0")
    assert not (machine / "locks").exists()
    within = Job(machine, 1, SLURM_JOB_ID="9", CUDA_VISIBLE_DEVICES="0,1")
    assert within.gpus() == "0"
    other = Job(machine, 1, SLURM_JOB_ID="9", CUDA_VISIBLE_DEVICES="0,1")
    assert other.gpus() == "1"
    for job in (one, two, within, other):
        job.end()


@pytest.mark.parametrize(
    ("count", "visible", "left"),
    [(0, None, "all"), (-1, None, "all"), (3, None, "all"), (1, "", "none"), (2, "0", "0")],
)
def test_nothing_is_taken_where_none_or_too_few_are_visible(
    machine: Path, count: int, visible: str | None, left: str
) -> None:
    job = Job(machine, count, CUDA_VISIBLE_DEVICES=visible)
    assert job.gpus() == left
    job.end()
    assert not (machine / "locks").exists()


def test_no_gpus_without_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_locks._listed() == {}


def test_a_folder_that_is_not_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").touch()
    monkeypatch.setattr(gpu_locks, "FOLDER", tmp_path / "locks")
    with pytest.raises(UserError, match=r"^.*/locks: no lock for a GPU \(.*\)"):
        gpu_locks.lock_free({"0": tmp_path / "locks" / "0"}, 1)
