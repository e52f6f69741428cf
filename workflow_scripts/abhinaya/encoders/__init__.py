"""Encoders: each turns an utterance into a sequence of vectors. Nothing above this folder knows which one it serves.

A family gives two things. Its *loader* runs in the data loader's workers: `load(row, generator)` turns a manifest row
into tensors for one utterance, `size(row)` foretells the cost of it. Its *encoder* is the torch module that maps the
padded tensors of a batch to vectors and lengths.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from abhinaya.config import SpeechSystem, TextSystem, TrainedSystem
from abhinaya.devices import is_bf16


class Loader(Protocol):
    """Reads one utterance; small and picklable, without weights."""

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """What is done once for all rows, before any is loaded; and remarks on it for the user."""

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """Tensors of one utterance, each with its length first; a random crop if there is a `generator`."""

    def size(self, row: dict[str, Any]) -> float:
        """What the cost of an utterance grows with, for batches of like length."""


def build(
    settings: TrainedSystem, seed: int, device: torch.device, heard: Sequence[Path] = ()
) -> tuple[Loader, nn.Module]:
    """The loader and the encoder that a system's settings describe, to compute on `device`.

    Random parts are drawn from `seed`. `heard`: shards of features computed before, for a family that has such.
    """
    # Heavy; only the family in use is imported.
    if isinstance(settings, SpeechSystem):
        from abhinaya.encoders import speech

        return speech.build(settings.encoder, seed)
    if isinstance(settings, TextSystem):
        from abhinaya.encoders import text

        return text.build(settings.encoder, seed, device, is_bf16(settings, device))
    from abhinaya.encoders.salmonn import encoder

    return encoder.build(settings.encoder, seed, device, is_bf16(settings, device), heard)
