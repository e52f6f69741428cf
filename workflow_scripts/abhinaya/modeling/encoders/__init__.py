"""Encoders: each turns an utterance into a sequence of vectors. Nothing above this folder knows which one it serves.

A family gives two things. Its *loader* runs in the data loader's workers: `load(row, generator)` turns a manifest row
into tensors for one utterance, `size(row)` foretells the cost of it. Its *encoder* is the torch module that maps the
padded tensors of a batch to vectors and lengths.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from abhinaya.config import features as feature_settings
from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.config.system import SalmonnSystem, SpeechSystem, TextSystem, TrainedSystem
from abhinaya.data.dataset import Loader
from abhinaya.modeling.precision import computes_bf16, is_bf16
from abhinaya.runtime.errors import UserError


def build(
    settings: TrainedSystem, seed: int, device: torch.device, features: Sequence[Path] = ()
) -> tuple[Loader, nn.Module]:
    """The loader and the encoder that a system's settings describe, to compute on `device`.

    Args:
        seed: of random parts.
        features: indices of cached features; without any, a frozen encoder computes on the fly.

    Raises:
        UserError: as the families raise; `features` for an encoder that is trained, or extracted otherwise.
    """
    # Heavy; only the family in use is imported.
    if features and not isinstance(settings, SalmonnSystem):
        return _cached(settings, seed, features)
    if isinstance(settings, SpeechSystem):
        from abhinaya.modeling.encoders import speech

        return speech.build(settings.encoder, seed)
    if isinstance(settings, TextSystem):
        from abhinaya.modeling.encoders import text

        return text.build(settings.encoder, seed, device, is_bf16(settings, device))
    from abhinaya.modeling.encoders.salmonn import speech_llm

    return speech_llm.build(settings.encoder, seed, device, is_bf16(settings, device), features)


def _cached(settings: TrainedSystem, seed: int, features: Sequence[Path]) -> tuple[Loader, nn.Module]:
    """As `build`, from the features of a frozen encoder, which is not loaded."""
    from abhinaya.modeling.feature_cache import CachedEncoder, CachedLoader, FeatureCache

    wanted = feature_settings.of(settings, seed)
    if wanted is None:
        raise UserError("--features: given, but the encoder is not frozen; set `encoder.freeze: all` or give none")
    cache = FeatureCache(list(features), wanted)
    if isinstance(wanted, TextFeatures):
        from abhinaya.modeling.encoders import text

        loader = text.loader(wanted.encoder, cache.revision)
    else:
        from abhinaya.modeling.encoders import speech

        loader = speech.WaveformLoader(wanted.encoder)
    return CachedLoader(loader, cache), CachedEncoder(cache)


def frozen(settings: FeatureSettings, device: torch.device) -> tuple[Loader, nn.Module, bool]:
    """The loader and the encoder of features that are to be cached, on `device`, and whether it computes in bf16.

    Raises:
        UserError: a model is absent or of another kind, or the settings do not fit it.
    """
    if isinstance(settings, SalmonnFeatures):
        from abhinaya.modeling.encoders.salmonn import audio_encoders

        loader, encoder = audio_encoders.build(settings.encoder)
        return loader, encoder.to(device), False  # it sets its own arithmetic
    bf16 = computes_bf16(settings.precision, device)
    if isinstance(settings, TextFeatures):
        from abhinaya.modeling.encoders import text

        loader, encoder = text.build(settings.encoder, 0, device, bf16)  # no part of it is random
    else:
        from abhinaya.modeling.encoders import speech

        loader, encoder = speech.build(settings.encoder, settings.seed or 0)
    return loader, encoder.to(device).eval(), bf16
