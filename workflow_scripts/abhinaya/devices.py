"""Where a job computes and in which arithmetic."""

import os

import torch

from abhinaya.config import TrainedSystem
from abhinaya.errors import UserError


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


def is_bf16(settings: TrainedSystem, device: torch.device) -> bool:
    """bf16 on a GPU, fp32 on a CPU, unless the configuration says so (docs/fidelity.md, 12)."""
    precision = settings.training.precision
    return precision == "bf16" or (precision == "auto" and device.type != "cpu")


def autocast(settings: TrainedSystem, device: torch.device) -> torch.autocast:
    """The arithmetic of a forward pass, as Trainer does it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_bf16(settings, device))


def half(device: torch.device) -> torch.autocast:
    """bf16 on a GPU, fp32 on a CPU, for what no system's `precision` governs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")
