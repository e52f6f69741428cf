"""Training a classifier: from the manifest and the settings of a system to its model folder."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import set_seed

from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances
from abhinaya.labels import CLASSES
from abhinaya.modeling import losses
from abhinaya.modeling.checkpoint import build, check_replaceable, parameters, save_model
from abhinaya.modeling.precision import autocast
from abhinaya.runtime import signals
from abhinaya.runtime.devices import claim
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.training import metrics, resume
from abhinaya.training.agreement import Agreement, Stopped
from abhinaya.training.fsdp import shard
from abhinaya.training.loop import Loop, accumulation
from abhinaya.transcription.transcripts import check_text, short_enough

PATIENCE = timedelta(minutes=30)  # how long a process waits for another one, which may read models or encode alone


def train(
    name: str,
    settings: TrainedSystem,
    manifest: pd.DataFrame,
    seed: int,
    checkpoints: Path,
    output: Path,
    cpus: int = 2,
    gpus: int = 0,
    features: Sequence[Path] = (),
) -> None:
    """Train system `name` and write its model folder: weights, `config.json`, `metrics.json`.

    Args:
        manifest: all utterances; `split` tells train and validation; with `text` for a system that reads transcripts.
        checkpoints: folder of a run in progress; a later call with the same task goes on from there;
            removed at the end.
        output: the model folder, written last and whole.
        cpus: cores: to compute with, or, beside a GPU, to load audio with.
        gpus: GPUs to train on (one process each, started by torchrun); 0 is the CPU.
        features: indices of cached features, for a frozen encoder; without any, each epoch computes them anew.

    Raises:
        UserError: a split without utterances or with one that has none of the eight emotions, too few GPUs, an encoder
            that cannot be loaded.
        SystemExit: a signal; a checkpoint is saved.
    """
    check_text(settings, manifest)
    device, workers = claim(cpus, gpus)
    check_replaceable(output)
    rows = _splits(manifest)
    processes = _processes(device)
    accumulation(settings.training, processes.num_processes)  # told before the models are loaded
    rows["train"], left_out = short_enough(settings, rows["train"])
    counts = [int((rows["train"]["EmoClass"] == letter).sum()) for letter in CLASSES]
    set_seed(seed)
    classifier, loader = build(settings, counts, seed, device, features)
    found = [None]
    if processes.is_main_process:  # the fingerprint reads all of the models: once for all processes
        found = [resume.checkpoint_of(resume.fingerprint(settings, rows, seed), checkpoints)]
    (checkpoint,) = broadcast_object_list(found)
    data = {
        "train": Utterances(rows["train"], loader, seed),
        "validation": Utterances(rows["validation"], loader),
    }
    remarks = left_out + [f"{split}: {remark}" for split, part in data.items() for remark in part.remarks]
    if processes.is_main_process:
        if checkpoint:
            print_line(f"resuming from {checkpoint}")
        for remark in remarks:
            print_line(remark)
    if settings.encoder.frozen:
        data["train"].seed = None  # the middle of longer clips, as in a feature cache
    if settings.training.fsdp and processes.num_processes > 1:
        shard(classifier, device)
    elif settings.training.fsdp:
        print_line("training.fsdp: no effect, for one process alone keeps all weights")
    loop = Loop(
        classifier,
        losses.build(settings.loss, counts),
        data,
        settings.training,
        autocast(settings, device),
        seed=seed,
        checkpoints=checkpoints,
        device=device,
        processes=processes,
        workers=workers,
    )
    started = time.monotonic()
    if checkpoint:
        loop.load(checkpoint)
    _run(loop)
    measured = {
        **metrics.summary(loop.epochs, len(rows["train"]), settings.training.effective_batch),
        "steps": loop.step,
        "seconds": time.monotonic() - started,  # of this run, since its resumption, with loading and checkpoints
        "resumed_from": checkpoint and checkpoint.name,
        "device": str(device),
        "processes": processes.num_processes,
        "parameters": parameters(classifier)["all"],
        "trainable_parameters": parameters(classifier)["trained"],
        **metrics.peak_memory(device),
    }
    processes.wait_for_everyone()  # all have read the best checkpoint before it goes
    if processes.is_main_process:
        save_model(name, settings, classifier, counts, seed, measured, remarks, output)
        shutil.rmtree(checkpoints)


def _splits(manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of `train` and `validation`.

    Raises:
        UserError: a split is empty, or an utterance in it has none of the eight emotions.
    """
    rows = {split: manifest[manifest["split"] == split].reset_index(drop=True) for split in ("train", "validation")}
    for split, part in rows.items():
        if part.empty:
            raise UserError(f"manifest: no utterance in the {split} split; check the corpus's partitions")
        for file, letter in part.loc[~part["EmoClass"].isin(CLASSES), [schemas.KEY, "EmoClass"]].itertuples(
            index=False
        ):
            raise UserError(
                f"manifest: EmoClass {letter!r} of {file} in the {split} split is none of {', '.join(CLASSES)}; leave "
                "its split empty"
            )
    return rows


def _processes(device: torch.device) -> PartialState:
    """The processes that train together, this one among them; connected if torchrun started several."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    on_cpu = device.type == "cpu"
    return PartialState(cpu=on_cpu, backend="gloo" if on_cpu and several else None, timeout=PATIENCE)


def _run(loop: Loop) -> None:
    """Train to the end, or leave at a signal with the status that a shell has for it."""
    with signals.SignalRecorder() as noted:
        try:
            loop.run(Agreement(noted))
            return
        except Stopped as stopped:
            number = stopped.number
            loop.processes.wait_for_everyone()  # torchrun ends the others as soon as one is gone
    if loop.processes.is_main_process:
        print_line(
            f"stopped by {signal.Signals(number).name}; start again to go on from step {loop.step} of {loop.steps}"
        )
    sys.exit(128 + number)
