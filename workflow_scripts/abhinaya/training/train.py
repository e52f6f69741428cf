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
from abhinaya.runtime import signals
from abhinaya.runtime.devices import claim
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.training import metrics, probe, resume, standardisation
from abhinaya.training.agreement import Agreement, Stopped
from abhinaya.training.fsdp import shard
from abhinaya.training.loop import Loop, accumulation
from abhinaya.transcription.transcripts import check_text, short_enough

TIMEOUT = timedelta(minutes=30)  # for communication; the other processes wait while the first one hashes the models


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
        manifest: all utterances, with their `split`, and with `text` for a system that reads transcripts.
        checkpoints: folder for checkpoints, from which a later call with the same settings and data resumes; removed at
            the end.
        output: the model folder; it appears at the end, complete.
        cpus: CPU cores, to compute, or with a GPU to load audio.
        gpus: number of GPUs (one process each, started by torchrun); 0 uses the CPU.
        features: indices of cached features, for a frozen encoder; if empty, each epoch computes them again.

    Raises:
        UserError: a split is empty or has an utterance without one of the eight emotions, there are too few GPUs, or
            the encoder cannot be loaded.
        SystemExit: a signal was received; a checkpoint is saved.
    """
    check_text(settings, manifest)
    device, workers = claim(cpus, gpus)
    check_replaceable(output)
    rows = _splits(manifest)
    processes = _processes(device)
    accumulation(settings.training, processes.num_processes)  # check before loading models
    rows["train"], left_out = short_enough(settings, rows["train"])
    counts = [int((rows["train"]["EmoClass"] == letter).sum()) for letter in CLASSES]
    set_seed(seed)
    classifier, loader = build(settings, counts, seed, device, features)
    last = [None]
    # Only one process, since the fingerprint reads all model files. A probe, fitted in seconds, has no checkpoints.
    if processes.is_main_process and not settings.is_probe:
        last = [resume.checkpoint_of(resume.fingerprint(settings, rows, seed), checkpoints)]
    (checkpoint,) = broadcast_object_list(last)
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
        data["train"].seed = None  # crop longer clips to the middle, as in a feature cache
    if settings.training.fsdp and processes.num_processes > 1:
        shard(classifier, device)
    elif settings.training.fsdp:
        print_line("training.fsdp: no effect with a single process")
    if settings.is_probe:
        measured = probe.fit(classifier.to(device), settings, data, rows["train"], workers)
        return save_model(name, settings, classifier, counts, seed, measured, remarks, output)
    if settings.head.standardise and not checkpoint:  # a checkpoint has the statistics
        standardisation.fit(classifier.to(device), data["train"], settings.training, workers)
    loop = Loop(
        classifier,
        losses.build(settings.loss, counts, settings.training.label_smoothing),
        data,
        settings.training,
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
        "seconds": time.monotonic() - started,  # since the start or resumption, with data loading and checkpoints
        "resumed_from": checkpoint and checkpoint.name,
        "device": str(device),
        "processes": processes.num_processes,
        "parameters": parameters(classifier)["all"],
        "trainable_parameters": parameters(classifier)["trained"],
        **metrics.peak_memory(device),
    }
    processes.wait_for_everyone()  # all must have read the best checkpoint before it is removed
    if processes.is_main_process:
        save_model(name, settings, classifier, counts, seed, measured, remarks, output)
        shutil.rmtree(checkpoints)


def _splits(manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the splits `train` and `validation`.

    Raises:
        UserError: a split is empty, or an utterance in it has none of the eight emotions.
    """
    rows = {split: manifest[manifest["split"] == split].reset_index(drop=True) for split in ("train", "validation")}
    for split, part in rows.items():
        if part.empty:
            raise UserError(f"manifest: no utterances in the {split} split; check the corpus's partitions")
        if not part["EmoClass"].isin(CLASSES).all():
            first = part[~part["EmoClass"].isin(CLASSES)].iloc[0]
            raise UserError(
                f"manifest: EmoClass of {first[schemas.KEY]} in the {split} split is {first['EmoClass']!r}, not one of "
                f"{', '.join(CLASSES)}; correct it or leave `split` empty"
            )
    return rows


def _processes(device: torch.device) -> PartialState:
    """The training processes; connects them if torchrun started several."""
    on_cpu = device.type == "cpu"
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return PartialState(cpu=on_cpu, backend="gloo" if on_cpu and several else None, timeout=TIMEOUT)


def _run(loop: Loop) -> None:
    """Train to the end; after a signal, exit with the shell's status for it."""
    with signals.SignalRecorder() as recorder:
        try:
            return loop.run(Agreement(recorder))
        except Stopped as stopped:
            number = stopped.number
            loop.processes.wait_for_everyone()  # torchrun ends all processes after the first exit
    if loop.processes.is_main_process:
        name = signal.Signals(number).name
        print_line(f"stopped by {name} at step {loop.step} of {loop.steps}; start again to resume")
    sys.exit(128 + number)
