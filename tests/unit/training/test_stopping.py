"""Training: stopping after a signal, resuming within an epoch, several processes and nodes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from abhinaya import config
from abhinaya.config.system import Trained
from abhinaya.runtime import files, launch, locks
from abhinaya.runtime.errors import UserError
from abhinaya.training import train
from abhinaya.training.loop import Loop
from support import running
from support.speech_corpus import Stop, assert_same, command, run, system

SETTINGS = system()  # with dropout, layer drop and SpecAugment; two batches per step
STEPS = 3  # per epoch: 12 utterances, 4 per step
SIGNALLED = running.ROOT / "tests" / "support" / "signalled.py"
RECORDED = """
import signal, sys, time
sys.path.insert(0, {scripts!r})
from abhinaya.runtime import signals
signals.DUPLICATE_SECONDS = 0.2
with signals.SignalRecorder() as recorder:
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    print(recorder.number, flush=True)
    time.sleep(0.3)
    signal.raise_signal(signal.SIGTERM)
print("never")
"""
SRUN = """#!/bin/sh
# A replacement of SLURM's srun, with all nodes on this machine.
for word in "$@"; do
    case $word in
    --nodes=*) nodes=${word#*=} ;;
    -*) ;;
    *) break ;;
    esac
    shift
done
for node in $(seq "$nodes"); do "$@" & pids="$pids $!"; done
for pid in $pids; do wait "$pid" || status=$?; done
exit ${status:-0}
"""


LAUNCHED = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
from abhinaya.runtime import errors, launch, launch_variables
def main():
    if not launch_variables.is_launched():
        launch.launch(2)
    if os.environ["RANK"] == "1":
        {act}
errors.run(main)
"""

# Two processes. The second is slower at the end of each step; the first receives a signal in the second step.
AGREEING = """
import signal, sys, time
sys.path.insert(0, {scripts!r})
from torch import distributed
from abhinaya.runtime import signals
from abhinaya.training.agreement import Agreement
distributed.init_process_group("gloo")
rank, steps, waited, number = distributed.get_rank(), 0, 0.0, 0
with signals.SignalRecorder() as recorder:
    agreement = Agreement(recorder)
    while not number:
        distributed.barrier()  # as for averaging the gradients
        steps += 1
        if rank == 0 and steps == 2:
            signal.raise_signal(signal.SIGUSR1)
        if rank == 1:
            time.sleep(0.5)
        begin = time.monotonic()
        number = agreement()
        waited = max(waited, time.monotonic() - begin)
print(rank, steps, signal.Signals(number).name, "waited" if waited > 0.3 else "continued")
distributed.barrier()
"""


def at(event: str, step: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Call `act` once, before the method `event` of the loop, after so many steps."""
    original, done = getattr(Loop, event), []

    def acting(self: Loop, *arguments: object) -> None:
        if self.step == step and not done:
            done.append(step)
            act()
        original(self, *arguments)

    patch.setattr(Loop, event, acting)


def stop() -> None:
    raise Stop


# --- a signal


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("end_step", 1),
        ("end_step", STEPS + 2),
        ("end_step", STEPS),  # before the evaluation
        ("end_step", 3 * STEPS),
        ("end_batch", 2 * STEPS),
        ("end_batch", 3 * STEPS),
    ],
)
def test_a_run_resumes_from_the_step_of_a_signal(
    event: str,
    step: int,
    finished: Path,
    manifest: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        at(event, step, lambda: signal.raise_signal(signal.SIGUSR1), patch)
        with pytest.raises(SystemExit) as caught:
            run(SETTINGS, manifest, tmp_path)
    assert caught.value.code == 128 + signal.SIGUSR1
    assert f"stopped by SIGUSR1 at step {step} of {3 * STEPS}; " in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "model").exists()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    resumed = run(SETTINGS, manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{step}"
    assert_same(resumed, finished)


@pytest.mark.slow
def test_time_of_an_interrupted_epoch_is_that_of_both_parts(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at("end_step", 2, lambda: (time.sleep(2), signal.raise_signal(signal.SIGTERM)), patch)
        with pytest.raises(SystemExit):
            run(SETTINGS, manifest, tmp_path)
    first = files.read_json(run(SETTINGS, manifest, tmp_path) / "metrics.json")["epochs"][0]
    assert first["seconds"] > first["train_seconds"] > 2


def test_a_signal_after_the_last_evaluation_has_no_effect(
    finished: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at("save", 3 * STEPS, lambda: signal.raise_signal(signal.SIGTERM), monkeypatch)
    assert_same(run(SETTINGS, manifest, tmp_path), finished)


@pytest.mark.slow
def test_data_loading_processes_ignore_signals(
    finished: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM signals them, too, and torch reports their end as an error."""
    sent = []

    def signal_all() -> None:
        workers = [worker.pid for worker in multiprocessing.active_children()]
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        sent.extend(workers)

    monkeypatch.setattr(train, "claim", lambda *_: (torch.device("cpu"), 1))
    at("end_step", 1, signal_all, monkeypatch)
    assert_same(run(SETTINGS, manifest, tmp_path), finished)
    assert sent


def test_a_second_signal_ends_the_process_but_a_duplicate_does_not() -> None:
    code = RECORDED.format(scripts=str(running.TRAIN.parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{int(signal.SIGUSR1)}\n"
    assert done.returncode == -signal.SIGTERM


def signalled(step: int, arguments: list[str], **keys: object) -> subprocess.Popen:
    """Start train.py in a shell that ignores the signals, like the shell of a rule."""
    environment = {**os.environ, "SIGNALLED_AT": str(step)} | keys.pop("env", {})
    shell = ["sh", "-c", "trap '' TERM USR1; exec \"$@\"", "sh"]
    return subprocess.Popen(
        [*shell, sys.executable, str(SIGNALLED), *arguments], env=environment, stderr=subprocess.PIPE, text=True, **keys
    )


@pytest.mark.slow
def test_a_signal_during_loading_ends_the_process(manifest: pd.DataFrame, tmp_path: Path) -> None:
    assert signalled(0, command(SETTINGS, manifest, tmp_path)).wait(60) == -signal.SIGTERM


@pytest.mark.slow
def test_a_closed_log_is_no_error(finished: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """As with `train.py | tee`, if tee ends first."""
    process = signalled(STEPS + 1, command(SETTINGS, manifest, tmp_path))
    process.stderr.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    resumed = run(SETTINGS, manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{STEPS + 1}"
    assert_same(resumed, finished)


# --- `save_steps`


def test_more_checkpoints_have_no_effect(finished: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    assert_same(run(system(save_steps=1), manifest, tmp_path), finished)


@pytest.mark.parametrize(("event", "step", "last"), [("end_step", STEPS + 2, 4), ("end_batch", 2 * STEPS, 6)])
def test_a_killed_run_resumes_within_an_epoch(
    event: str,
    step: int,
    last: int,
    finished: Path,
    manifest: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        at(event, step, stop, patch)
        with pytest.raises(Stop):
            run(system(save_steps=2), manifest, tmp_path)
    assert {path.name for path in tmp_path.glob("checkpoints/checkpoint-*")} == {
        f"checkpoint-{STEPS}",  # the best
        f"checkpoint-{last}",
    }
    resumed = run(SETTINGS, manifest, tmp_path)  # another `save_steps` is the same task
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{last}"
    assert_same(resumed, finished)


# --- several processes and nodes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "status", "message"),
    [
        ("print('two of', os.environ['WORLD_SIZE'])", 0, ""),
        ("sys.exit(3)", 3, ""),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            1,
            "error: process 1 was killed by SIGKILL, possibly out of memory; increase `resources.mem_mb`\n",
        ),
    ],
)
def test_a_launcher_exits_with_the_status_of_its_processes(act: str, status: int, message: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED.format(scripts=str(running.TRAIN.parent), act=act))
    done = running.python(script)
    assert (done.returncode, done.stdout) == (status, "" if status else "two of 2\n")
    assert done.stderr.endswith(message) and "Traceback" not in done.stderr


@pytest.mark.slow
def test_processes_agree_on_a_signal_without_waiting_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(AGREEING.format(scripts=str(running.TRAIN.parent)))
    done = running.python(tmp_path / "script.py", processes=2)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 3 SIGUSR1 continued", "1 3 SIGUSR1 continued"]


@pytest.fixture(scope="module")
def by_two(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a run in two processes on one node, without interruption."""
    folder = tmp_path_factory.mktemp("two")
    done = running.python(running.TRAIN, *command(SETTINGS, manifest, folder), processes=2)
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture
def slurm_job(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a SLURM job."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    return {"SLURM_JOB_ID": "1", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_two_nodes_stop_together_and_have_the_result_of_two_processes(
    by_two: Path, manifest: pd.DataFrame, tmp_path: Path, slurm_job: dict[str, str]
) -> None:
    """Only one node receives the signal; the other stops at the same step. The run is resumed on one node."""
    arguments = command(SETTINGS, manifest, tmp_path)
    process = signalled(STEPS + 1, [*arguments, "--nodes", "2"], env=slurm_job)
    log = process.communicate(timeout=120)[1]
    assert process.returncode not in (0, -signal.SIGTERM), log
    assert log.count(f"stopped by SIGTERM at step {STEPS + 2} of {3 * STEPS}; ") == 1
    assert log.count("epoch 1/3 ") == 1
    done = running.python(running.TRAIN, *arguments, processes=2)
    assert done.returncode == 0, done.stderr
    metrics = files.read_json(tmp_path / "model" / "metrics.json")
    assert metrics["resumed_from"] == f"checkpoint-{STEPS + 2}" and metrics["processes"] == 2
    assert_same(tmp_path / "model", by_two)


@pytest.mark.slow
def test_an_error_ends_all_nodes(manifest: pd.DataFrame, tmp_path: Path, slurm_job: dict[str, str]) -> None:
    arguments = command(SETTINGS, manifest[manifest["split"] != "validation"], tmp_path)
    done = subprocess.run(
        [sys.executable, str(running.TRAIN), *arguments, "--nodes", "2"],
        env={**os.environ, **slurm_job},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "error: manifest: no utterances in the validation split" in done.stderr


def test_several_nodes_need_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"^resources\.nodes: 2 nodes need SLURM; run with --profile slurm, or "):
        launch.launch(1, nodes=2)


@pytest.mark.parametrize(("resources", "processes"), [({}, 1), ({"gpu": 4}, 4), ({"gpu": 4, "nodes": 3}, 12)])
def test_a_step_is_divided_over_all_nodes(resources: dict, processes: int) -> None:
    training_keys = {"batch_size": 2, "effective_batch": 2 * processes}
    settings = SETTINGS.model_dump(mode="json") | {"resources": resources, "training": training_keys}
    assert config.parse(Trained, settings).resources.processes == processes
    with pytest.raises(UserError, match=rf"is not a multiple of batch_size x gpu x nodes = {2 * processes}; "):
        config.parse(Trained, settings | {"training": training_keys | {"effective_batch": 2 * processes + 1}})


@pytest.mark.slow
def test_a_second_job_of_the_same_training_is_refused(manifest: pd.DataFrame, tmp_path: Path) -> None:
    """A killed Snakemake may leave a job running: both would write the same checkpoints."""
    words = [sys.executable, running.ROOT / "workflow_scripts" / "train.py", *command(SETTINGS, manifest, tmp_path)]
    with locks.alone(tmp_path / ".checkpoints.lock", "held by the test"):
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: {tmp_path}: another job is training tiny (process {os.getpid()} on " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()
