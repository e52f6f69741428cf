"""Checkpoints of an unfinished training: finding, writing and removing them.

A checkpoint is a folder `checkpoint-STEP`. It gets this name by a rename after all of its content is on the disk. It
contains checksums, by which damage is noticed that happened later, such as by a failing disk.
"""

import hashlib
import json
import random
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError

from abhinaya.config.base import result_settings
from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.modeling.checkpoint import WEIGHTS, save_weights
from abhinaya.modeling.classifier import Classifier
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, print_line

FINGERPRINT = "fingerprint.json"
OPTIMIZER, STATE = "optimizer.pt", "state.json"  # in the same folder as the weights
CHECKSUMS = "checksums.json"  # of the task and of the files that are written once; by name
MIN_FREE = 1 << 24  # bytes; with less, a failed write is that of a full disk
CHUNK = 1 << 24  # bytes
# Keys of `training` that affect memory and the number of checkpoints, but no result.
COST_ONLY = ("batch_size", "eval_batch_size", "gradient_checkpointing", "fsdp", "save_steps")


def fingerprint(settings: TrainedSystem, rows: dict[str, pd.DataFrame], seed: int) -> dict[str, str]:
    """Settings, seed and data of a training. A training resumes only from checkpoints with the same fingerprint.

    Settings that affect only memory and speed are excluded, so they can be changed after running out of memory.
    """
    columns = [schemas.KEY, "EmoClass", "duration", *(["text"] if settings.reads_transcripts else [])]
    content = {split: hashlib.sha256(part[columns].to_csv().encode()).hexdigest() for split, part in rows.items()}
    stored = result_settings(settings)
    for key in COST_ONLY:
        del stored["training"][key]
    base = json.dumps(source_digests(settings.encoder.sources))
    return {"settings": json.dumps(stored, sort_keys=True), "base": base, "seed": str(seed), **content}


def checkpoint_of(task: dict[str, str], checkpoints: Path) -> Path | None:
    """The last whole checkpoint of `task`, a fingerprint.

    Incomplete checkpoints and those of other tasks are removed, damaged ones are set aside.

    Raises:
        UserError: the folder contains other files than checkpoints.
    """
    record = checkpoints / FINGERPRINT
    if not record.is_file() and any(checkpoints.glob("*")):
        raise UserError(f"{checkpoints}: contains other files than checkpoints; use a new or empty folder")
    if record.is_file() and _read(record) not in (task, None):
        print_line(f"{checkpoints}: checkpoints of other settings or data are removed; the training starts again")
        shutil.rmtree(checkpoints)
    files.write_json(task, record)
    for folder in checkpoints.glob(".checkpoint-*"):
        shutil.rmtree(folder)
    for folder in checkpoints.glob("checkpoint-*"):
        if reason := _damage(folder):
            files.set_aside(folder, f"damaged ({reason}); continuing from the checkpoint before it, if there is one")
    whole = {_step(folder): folder for folder in checkpoints.glob("checkpoint-*")}
    for _, folder in sorted(whole.items(), reverse=True):
        best = files.read_json(folder / STATE)["best_step"]
        if best is None or best in whole:
            return folder
        print_line(f"{folder}: not used, since its best checkpoint, of step {best}, is missing")
    return None


def save(folder: Path, classifier: Classifier, optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Write a checkpoint. If it exists, only its `state` is replaced: its weights are those of the same step.

    Raises:
        UserError, OSError: the disk is full or failed.
    """
    if folder.is_dir():
        files.write_json(state, folder / STATE)
        return
    temporary = folder.with_name(f".{folder.name}.partial")
    temporary.mkdir(parents=True)
    try:
        save_weights(classifier, temporary / WEIGHTS)
        torch.save(optimizer.state_dict(), temporary / OPTIMIZER)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # the libraries have none for a full disk
        if shutil.disk_usage(folder.parent).free < MIN_FREE or "No space left" in str(error):
            shutil.rmtree(temporary, ignore_errors=True)
            raise files.disk_full(folder) from None
        raise
    files.write_json(state, temporary / STATE)
    written = {name: _checksum(temporary / name) for name in (WEIGHTS, OPTIMIZER)}
    files.write_json(written | {FINGERPRINT: _checksum(folder.parent / FINGERPRINT)}, temporary / CHECKSUMS)
    files.put_in_place(temporary, folder)


def remove_others(checkpoints: Path, keep: Collection[Path]) -> None:
    """Remove all checkpoints except those in `keep`."""
    for folder in checkpoints.glob("checkpoint-*"):
        if folder not in keep:
            shutil.rmtree(folder)


def random_states(device: torch.device) -> dict:
    """The states of all random generators that a training uses in this process, as JSON types."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, keys.tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "cuda": torch.cuda.get_rng_state(device).numpy().tobytes().hex() if device.type == "cuda" else None,
    }


def set_random_states(states: dict, device: torch.device) -> None:
    """Restore the `states` that `random_states` returned."""
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


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint of the task in the fingerprint; None if it is whole."""
    state, expected = _read(folder / STATE), _read(folder / CHECKSUMS)
    if state is None or not {"step", "best_step", "epochs", "seconds", "processes"} <= state.keys():
        return f"{STATE} is missing or invalid"
    if expected is None:
        return f"{CHECKSUMS} is missing or invalid"
    record = folder.parent / FINGERPRINT  # just written
    if expected.get(FINGERPRINT) != _checksum(record):
        return "it is of other settings or data"
    for name in (WEIGHTS, OPTIMIZER):
        if not (folder / name).is_file() or _checksum(folder / name) != expected.get(name):
            return f"{name} is missing or has changed"
    return None


def _read(path: Path) -> dict | None:
    """The JSON object in `path`; None if it is missing or damaged."""
    try:
        return files.read_json(path)
    except UserError:
        return None


def _checksum(path: Path) -> int:
    """CRC-32 of a file; fast, and sufficient against accidents."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
