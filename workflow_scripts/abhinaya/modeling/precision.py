"""The precision of a forward pass: bf16 or fp32 (docs/fidelity.md, 12)."""

import torch


def computes_bf16(precision: str, device: torch.device) -> bool:
    """Whether the setting `precision` (`auto`, `fp32` or `bf16`) means bf16; `auto` does on a GPU."""
    return precision == "bf16" or (precision == "auto" and device.type != "cpu")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass; losses are computed outside it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(precision, device))
