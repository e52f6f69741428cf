"""A classifier's encoder that returns its inputs."""

import torch
from torch import Tensor, nn

COUNTS = [1] * 8


class Given(nn.Module):
    """An encoder that returns its inputs, scaled by a trained weight."""

    def __init__(self, width: int, random: bool = False) -> None:
        super().__init__()
        self.width, self.random_parts = width, ("",) if random else ()
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return inputs * self.scale, lengths
