"""Encoders: each turns an utterance into a sequence of vectors. Nothing above this folder knows which one it serves.

A family gives two things. Its *loader* runs in the data loader's workers: `load(row, generator)` turns a manifest row
into tensors for one utterance, `size(row)` foretells the cost of it. Its *encoder* is the torch module that maps the
padded tensors of a batch to vectors and lengths.
"""

from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from abhinaya.config import System


class Loader(Protocol):
    """Reads one utterance; small and picklable, without weights."""

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """Tensors of one utterance, each with its length first; a random crop if there is a `generator`."""

    def size(self, row: dict[str, Any]) -> float:
        """What the cost of an utterance grows with, for batches of like length."""


def build(settings: System, seed: int) -> tuple[Loader, nn.Module]:
    """The loader and the encoder that a system's settings describe; random parts are drawn from `seed`."""
    from abhinaya.encoders import speech  # heavy; only the family in use is imported

    return speech.build(settings.encoder, seed)
