"""The device and the CPU cores of a job."""

import os

import torch

from abhinaya.runtime.errors import UserError


def claim(cpus: int, gpus: int) -> tuple[torch.device, int]:
    """The device of this process, never silently a smaller one, and the number of processes that load its audio.

    Raises:
        UserError: fewer GPUs than asked for; a number that none can be.
    """
    if cpus < 1 or gpus < 0:
        raise UserError(f"--cpus {cpus}, --gpus {gpus}: give at least 1 core, and 0 GPUs to use the CPU")
    if gpus == 0:
        torch.set_num_threads(max(1, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
        return torch.device("cpu"), 0  # loading beside computing would take turns on the same cores
    if torch.cuda.device_count() < gpus:
        visible = torch.cuda.device_count()
        raise UserError(f"--gpus, resources.gpu: {gpus} asked for, {visible} visible; set 0 to use the CPU")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))), max(1, cpus // gpus - 1)
