"""What a job needs around its arithmetic: stopping and resuming, gradient checkpointing, processes that load data."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from abhinaya.config.base import settings_json
from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.training.loop import Loop
from prove_gpu import parity, speed, systems
from prove_gpu.arguments import ROOT, Options
from prove_gpu.checks import Check, at_most, passed

CPU = torch.device("cpu")
SECONDS = [1.0 + 0.1 * (index % 8) for index in range(32)]
EPOCHS = 3
WORKERS = 2
POLL_SECONDS = 0.005
RESUMED = 1e-4  # most relative difference of losses: some GPU kernels add in no fixed order


def run(options: Options) -> Iterator[Check]:
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = systems.write_clips(folder / "clips", SECONDS)
        paper = systems.paper_systems()
        tiny = {name: systems.with_architecture(paper[name], "tiny", folder) for name in paper}
        yield resumption(tiny["s1"], rows, folder, options)
        for name in ("s1", "t2", "st1"):
            yield checkpointing(name, tiny[name], rows, device)
        yield workers(tiny["st1"], rows, device)


def resumption(settings: TrainedSystem, rows: pd.DataFrame, folder: Path, options: Options) -> Check:
    """train.py stopped by SIGTERM after its first steps and started again, against train.py without interruption."""
    settings = systems.with_training(settings, epochs=EPOCHS, effective_batch=4, batch_size=4, save_steps=1)
    half = len(rows) // 2
    splits = ["train"] * half + ["validation"] * (len(rows) - half)
    schemas.write_manifest(rows.drop(columns="text").assign(split=splits), folder / "manifest.parquet")
    whole = train_command(settings, folder, "whole", options)
    subprocess.run(whole, check=True)
    stopped = train_command(settings, folder, "stopped", options)
    status = stop_at_first_checkpoint(stopped, folder / "stopped.checkpoints")
    if status != 128 + signal.SIGTERM:
        return Check("s1 SIGTERM", "failed", f"train.py ended with status {status}, not {128 + signal.SIGTERM}")
    subprocess.run(stopped, check=True)
    expected, found = (json.loads((folder / name / "metrics.json").read_text()) for name in ("whole", "stopped"))
    losses, again = ([epoch["loss"] for epoch in each["epochs"]] for each in (expected, found))
    differences = [abs(one - two) / abs(one) for one, two in zip(losses, again, strict=True)]
    figures = {"resumed_from": found["resumed_from"], "losses": again}
    if found["resumed_from"] is None:
        return Check("s1 SIGTERM", "failed", "the second run did not resume", figures)
    what = f"resumed from {found['resumed_from']}; losses of {EPOCHS} epochs differ by at most"
    return at_most("s1 SIGTERM", what, max(differences), RESUMED, **figures)


def train_command(settings: TrainedSystem, folder: Path, name: str, options: Options) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "workflow_scripts/train.py"), "--name", "s1"),
        *("--settings", settings_json(settings), "--manifest", str(folder / "manifest.parquet")),
        *("--checkpoints", str(folder / f"{name}.checkpoints"), "--output", str(folder / name)),
        *("--cpus", str(options.cpus), "--gpus", str(options.gpus)),
    ]


def stop_at_first_checkpoint(command: list[str], checkpoints: Path) -> int:
    """The exit status of `command`, which gets SIGTERM when its first checkpoint appears."""
    job = subprocess.Popen(command)
    while job.poll() is None and not any(checkpoints.glob("checkpoint-*")):
        time.sleep(POLL_SECONDS)
    if job.poll() is None:
        job.send_signal(signal.SIGTERM)
    return job.wait()


def checkpointing(name: str, settings: TrainedSystem, rows: pd.DataFrame, device: torch.device) -> Check:
    """Gradient checkpointing changes no gradient, with dropout."""
    (on, flops_on), (off, flops_off) = (training_step(settings, rows, device, used) for used in (True, False))
    more = flops_on / flops_off - 1
    label = f"{name} gradient checkpointing"
    if more <= 0:
        return Check(label, "failed", "computes nothing again: it has no effect")
    what = f"{more:.0%} more operations; gradients with and without it differ by"
    return at_most(label, what, parity.worst(parity.difference, on, off), parity.FP32, more_operations=more)


def training_step(
    settings: TrainedSystem, rows: pd.DataFrame, device: torch.device, checkpointing: bool
) -> tuple[parity.Gradients, int]:
    """The gradients of the first step, in training mode with the same random numbers, and its operations."""
    settings = systems.with_training(
        settings, precision="fp32", batch_size=8, effective_batch=8, gradient_checkpointing=checkpointing
    )
    loop = systems.loop(settings, rows, device, CPU, torch.float32)
    loop.model.train()
    torch.manual_seed(systems.SEED)
    batch = parity.batch_of(loop, range(8))
    flops = speed.operations(lambda: loop.train_step(iter([batch]), 1, 8))
    return parity.first_moments(loop), flops


def workers(settings: TrainedSystem, rows: pd.DataFrame, device: torch.device) -> Check:
    """Loading processes return the batches that the training process itself would load, in pinned memory for a GPU."""
    here, there = (systems.loop(settings, rows, device, CPU, torch.float32, count) for count in (0, WORKERS))
    expected, _ = load_all(here)
    found, seconds = load_all(there)
    same = len(found) == len(expected) and all(map(equal, found, expected))
    pinned = all(value.is_pinned() for batch in found for value in batch.values())
    is_right = same and pinned == (device.type == "cuda")
    speed = len(rows) / seconds
    message = f"{'the same' if same else 'other'} batches{', pinned memory' * pinned}; {speed:.0f} clips/s"
    figures = {"clips_per_second": speed, "pinned": pinned, "cpus": os.cpu_count()}
    return Check(f"{WORKERS} loading processes", passed(is_right), message, figures)


def load_all(loop: Loop) -> tuple[list[dict[str, Tensor]], float]:
    """All batches of the first epoch, and the seconds from the first one to the last."""
    loaded = iter(loop.loader("train", loop.share(range(len(loop.data["train"])), 4)))
    batches = [next(loaded)]  # includes the start of the processes
    begin = time.monotonic()
    batches += loaded
    return batches, time.monotonic() - begin


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
