"""The weights that a training holds in the memory of a machine, compared with the job's `mem_mb`."""

import torch
from torch import nn

from abhinaya.config.system import TrainedSystem
from abhinaya.modeling.precision import computes_bf16
from abhinaya.runtime.errors import UserError

MB = 10**6
FLOAT, HALF = 4, 2  # bytes


def check(settings: TrainedSystem, classifier: nn.Module) -> None:
    """Raise a `UserError` if the weights of all processes of a machine alone exceed the requested memory.

    A language model goes directly to the GPU. Without GPUs, and with `training.fsdp`, which distributes it afterwards,
    each process holds a copy. Whisper and BEATs, and files that are only mapped, are not counted.
    """
    processes = max(1, settings.resources.gpu)
    on_gpu = settings.resources.gpu > 0
    bf16 = computes_bf16(settings.training.precision, torch.device("cuda" if on_gpu else "cpu"))
    size = 0
    for weight in classifier.parameters():
        if weight.requires_grad:
            size += FLOAT * weight.numel()
        elif not on_gpu or settings.training.fsdp:
            size += (HALF if bf16 else FLOAT) * weight.numel()
    needed = processes * size // MB
    if needed > settings.resources.mem_mb:
        copies = f"{processes} processes of {size // MB} MB each" if processes > 1 else "one process"
        raise UserError(
            f"`resources.mem_mb` is {settings.resources.mem_mb}, but the weights alone need {needed} ({copies}); "
            f"raise it above {needed}"
        )
