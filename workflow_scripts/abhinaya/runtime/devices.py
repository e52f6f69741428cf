"""The device and the CPU cores of a job."""

import os

import torch

from abhinaya.runtime.errors import UserError


def claim(cpus: int, gpus: int) -> tuple[torch.device, int]:
    """Return the device of this process and the number of worker processes that load its audio.

    There is no silent fallback to the CPU.

    Raises:
        UserError: fewer GPUs are visible than requested, or a number is out of range.
    """
    if cpus < 1 or gpus < 0:
        raise UserError(f"--cpus {cpus}, --gpus {gpus}: need --cpus >= 1 and --gpus >= 0 (0 uses the CPU)")
    if gpus == 0:
        torch.set_num_threads(max(1, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
        return torch.device("cpu"), 0  # a separate loading process would compete for the same cores
    if torch.cuda.device_count() < gpus:
        visible = torch.cuda.device_count()
        raise UserError(f"--gpus, resources.gpu: {gpus} requested, {visible} visible; set 0 to use the CPU")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))), max(1, cpus // gpus - 1)
