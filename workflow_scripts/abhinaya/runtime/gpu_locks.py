"""Which of a machine's GPUs a job uses: free ones, which it locks until it ends.

Must be called before CUDA is initialized; so it does not import torch.
"""

import os
import random
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from abhinaya.runtime.errors import UserError, print_line

VISIBLE = "CUDA_VISIBLE_DEVICES"
# One folder for all runs of a user on a machine, also if their TMPDIR differs.
FOLDER = Path("/tmp", f"abhinaya-gpus-{os.getuid()}")
SECONDS = 2.0  # between two looks for free GPUs
LISTED = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[\w-]+)\)$", re.MULTILINE)  # a line of `nvidia-smi -L`

_held: list[FileLock] = []  # released when the process ends, however it ends


def take(count: int) -> None:
    """Reserve `count` GPUs for this process and those that it starts; wait until so many are free.

    Sets CUDA_VISIBLE_DEVICES. Chooses among the GPUs in its present value, or else among all. Does nothing in a SLURM
    job that has no choice, because SLURM has reserved its GPUs. Does nothing either if `count` is negative or more than
    the visible GPUs: `devices.claim` reports that.

    Raises:
        UserError: the lock files cannot be written.
    """
    if count < 1 or _held:
        return
    names = _listed()
    pool = _visible(names)
    if len(pool) < count or (len(pool) == count and "SLURM_JOB_ID" in os.environ):
        return
    locks = {gpu: FOLDER / re.sub(r"[^\w-]", "_", names.get(gpu, gpu)) for gpu in pool}
    os.environ[VISIBLE] = ",".join(lock_free(locks, count))


def lock_free(locks: dict[str, Path], count: int) -> Sequence[str]:
    """Lock `count` of the GPUs in `locks` (GPU to lock file) until this process ends; wait until so many are free.

    Raises:
        UserError: the lock files cannot be written.
    """
    waiting = False
    while True:
        try:
            taken = _try(locks, count)
        except OSError as error:
            raise UserError(f"{FOLDER}: no lock for a GPU ({error.strerror}); make this folder yours") from None
        if taken:
            _held.extend(taken.values())
            return list(taken)
        if not waiting:
            print_line(f"waiting for {count} free of {len(locks)} GPUs; other jobs of yours use the rest")
            waiting = True
        time.sleep(SECONDS * random.uniform(0.5, 1.5))  # not in step with another job that waits


def _try(locks: dict[str, Path], count: int) -> dict[str, FileLock]:
    """Locks on `count` free GPUs; none if fewer are free, so that two waiting jobs never hold a part each."""
    taken: dict[str, FileLock] = {}
    for gpu, path in locks.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a killed job
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        taken[gpu] = lock
        if len(taken) == count:
            return taken
    for lock in taken.values():
        lock.release()
    return {}


def _visible(names: dict[str, str]) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [gpu for each in os.environ[VISIBLE].split(",") if (gpu := each.strip())]
    return list(dict.fromkeys(names.values()))


def _listed() -> dict[str, str]:
    """The UUID of each GPU of this machine, by its number and by its UUID."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return {}
    return {name: uuid for number, uuid in LISTED.findall(done.stdout) for name in (number, uuid)}
