"""The arithmetic of a forward pass: bf16 or fp32."""

import torch

from abhinaya.config.system import TrainedSystem


def is_bf16(settings: TrainedSystem, device: torch.device) -> bool:
    """bf16 on a GPU, fp32 on a CPU, unless the configuration says so (docs/fidelity.md, 12)."""
    return computes_bf16(settings.training.precision, device)


def computes_bf16(precision: str, device: torch.device) -> bool:
    """As `is_bf16`, for a `precision` of `auto`, `fp32` or `bf16`."""
    return precision == "bf16" or (precision == "auto" and device.type != "cpu")


def autocast(settings: TrainedSystem, device: torch.device) -> torch.autocast:
    """The arithmetic of a forward pass; the loss is computed outside of it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_bf16(settings, device))


def half(device: torch.device) -> torch.autocast:
    """bf16 on a GPU, fp32 on a CPU, for what no system's `precision` governs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")
