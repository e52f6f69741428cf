"""Checkpoints of a training in progress: which task they belong to, and how they are found, written and removed.

A checkpoint is a folder `checkpoint-STEP`, renamed into place when all of it is on the disk.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from abhinaya.config.base import result_settings
from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.modeling.checkpoint import WEIGHTS, save_weights
from abhinaya.modeling.classifier import Classifier
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, print_line

FINGERPRINT = "fingerprint.json"
OPTIMIZER, STATE = "optimizer.pt", "state.json"  # beside the weights
# Keys of `training` that change memory and safety, and no result.
COST_ONLY = ("batch_size", "eval_batch_size", "gradient_checkpointing", "fsdp", "save_steps")


def fingerprint(settings: TrainedSystem, rows: dict[str, pd.DataFrame], seed: int) -> dict[str, str]:
    """What a checkpoint belongs to: settings, seed and data. Another task must not go on from it.

    Settings that only trade memory for time do not count: after a lack of memory one changes them and goes on.
    """
    columns = [schemas.KEY, "EmoClass", "duration", *(["text"] if settings.reads_transcripts else [])]
    content = {split: hashlib.sha256(part[columns].to_csv().encode()).hexdigest() for split, part in rows.items()}
    chosen = result_settings(settings)
    for key in COST_ONLY:
        del chosen["training"][key]
    base = json.dumps(source_digests(settings.encoder.sources))
    return {"settings": json.dumps(chosen, sort_keys=True), "base": base, "seed": str(seed), **content}


def checkpoint_of(task: dict[str, str], checkpoints: Path) -> Path | None:
    """The last checkpoint of this very task; those of another, and what a kill left unfinished, are removed.

    Raises:
        UserError: the folder holds a user's own files.
    """
    record = checkpoints / FINGERPRINT
    if checkpoints.is_dir() and any(checkpoints.iterdir()) and not record.is_file():
        raise UserError(f"{checkpoints}: holds other files than checkpoints; name a new or empty folder")
    if not record.is_file() or files.read_json(record) != task:
        if record.is_file():
            print_line(f"{checkpoints}: checkpoints of other settings or data; starting afresh")
            shutil.rmtree(checkpoints)
        files.write_json(task, record)
    for folder in (*checkpoints.glob("checkpoint-*"), *checkpoints.glob(".checkpoint-*")):
        if folder.name.startswith(".") or not _is_whole(folder):
            shutil.rmtree(folder)
    return max(checkpoints.glob("checkpoint-*"), key=_step, default=None)


def folder_of(checkpoints: Path, step: int) -> Path:
    """The checkpoint of that optimiser step."""
    return checkpoints / f"checkpoint-{step}"


def save(folder: Path, classifier: Classifier, optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Write a checkpoint. One that is there already gets the new `state` alone, for the step and its weights are those.

    Raises:
        UserError, OSError: the disk is full or fails.
    """
    if folder.is_dir():
        files.write_json(state, folder / STATE)
        return
    beside = folder.with_name(f".{folder.name}.partial")
    beside.mkdir(parents=True)
    save_weights(classifier, beside / WEIGHTS)
    torch.save(optimizer.state_dict(), beside / OPTIMIZER)
    files.write_json(state, beside / STATE)
    files.put_in_place(beside, folder)


def remove_others(checkpoints: Path, keep: Collection[Path]) -> None:
    """Remove all checkpoints but those to `keep`."""
    for folder in checkpoints.glob("checkpoint-*"):
        if folder not in keep:
            shutil.rmtree(folder)


def random_states(device: torch.device) -> dict:
    """The states of all random generators that a training in this process draws from, as JSON's own types."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, keys.tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "cuda": torch.cuda.get_rng_state(device).numpy().tobytes().hex() if device.type == "cuda" else None,
    }


def set_random_states(states: dict, device: torch.device) -> None:
    """Put the generators back to what `random_states` gave."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(_bytes(states["torch"]))
    if device.type == "cuda" and states["cuda"]:
        torch.cuda.set_rng_state(_bytes(states["cuda"]), device)


def _bytes(digits: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


def _is_whole(folder: Path) -> bool:
    """Whether it is readable and of this format; a folder is renamed into place when it is, but disks may fail."""
    try:
        return "step" in files.read_json(folder / STATE)
    except UserError:
        return False
