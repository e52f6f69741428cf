"""Encoders: each turns an utterance into a sequence of vectors. Nothing above this folder knows which one it serves.

A family gives two things. Its *loader* runs in the data loader's workers: `load(row, generator)` turns a manifest row
into tensors for one utterance, `size(row)` foretells the cost of it. Its *encoder* is the torch module that maps the
padded tensors of a batch to vectors and lengths.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from abhinaya.config.system import SpeechSystem, TextSystem, TrainedSystem
from abhinaya.data.dataset import Loader
from abhinaya.modeling.precision import is_bf16


def build(
    settings: TrainedSystem, seed: int, device: torch.device, features: Sequence[Path] = ()
) -> tuple[Loader, nn.Module]:
    """The loader and the encoder that a system's settings describe, to compute on `device`.

    Random parts are drawn from `seed`. `features`: shards of features computed before, for a family that has such.
    """
    # Heavy; only the family in use is imported.
    if isinstance(settings, SpeechSystem):
        from abhinaya.modeling.encoders import speech

        return speech.build(settings.encoder, seed)
    if isinstance(settings, TextSystem):
        from abhinaya.modeling.encoders import text

        return text.build(settings.encoder, seed, device, is_bf16(settings, device))
    from abhinaya.modeling.encoders.salmonn import speech_llm

    return speech_llm.build(settings.encoder, seed, device, is_bf16(settings, device), features)
