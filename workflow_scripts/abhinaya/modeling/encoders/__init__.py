"""Encoders: each turns an utterance into a sequence of vectors. Code outside this package does not depend on the kind.

A family has a *loader* and an *encoder*. The loader runs in the data loader's worker processes: `load(row, generator)`
returns the tensors of one utterance of the manifest, `size(row)` its approximate cost. The encoder is a torch module
that maps the padded tensors of a batch to vectors and their lengths.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from abhinaya.config import features as feature_settings
from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.config.system import SalmonnSystem, SpeechSystem, TextSystem, TrainedSystem
from abhinaya.data.dataset import Loader
from abhinaya.modeling.precision import computes_bf16
from abhinaya.runtime.errors import UserError


def build(
    settings: TrainedSystem, seed: int, device: torch.device, features: Sequence[Path] = ()
) -> tuple[Loader, nn.Module]:
    """The loader and the encoder for a system's settings, to be used on `device`.

    Args:
        seed: of random parts.
        features: indices of cached features; if empty, a frozen encoder computes them on the fly.

    Raises:
        UserError: as in the families' modules; `features` are given for a trained encoder, or were extracted with other
            settings.
    """
    # Slow to import; only the family in use is imported.
    if features and not isinstance(settings, SalmonnSystem):
        return _cached(settings, seed, features)
    if isinstance(settings, SpeechSystem):
        from abhinaya.modeling.encoders import speech

        return speech.build(settings.encoder, seed)
    bf16 = computes_bf16(settings.training.precision, device)
    if settings.training.fsdp:  # each GPU gets only its share
        device = torch.device("cpu")
    if isinstance(settings, TextSystem):
        from abhinaya.modeling.encoders import text

        return text.build(settings.encoder, seed, device, bf16)
    from abhinaya.modeling.encoders.salmonn import speech_llm

    return speech_llm.build(settings.encoder, seed, device, bf16, features)


def _cached(settings: TrainedSystem, seed: int, features: Sequence[Path]) -> tuple[Loader, nn.Module]:
    """As `build`, from the cached features of a frozen encoder, which is not loaded."""
    from abhinaya.modeling.feature_cache import CachedEncoder, CachedLoader, FeatureCache

    wanted = feature_settings.of(settings, seed)
    if wanted is None:
        raise UserError("--features: only for a frozen encoder; set `encoder.freeze: all` or remove the option")
    cache = FeatureCache(features, wanted)
    if isinstance(wanted, TextFeatures):
        from abhinaya.modeling.encoders import text

        loader = text.Transcripts(wanted.encoder, text.load_tokenizer(wanted.encoder, cache.revision), None)
    else:
        from abhinaya.modeling.encoders import speech

        loader = speech.WaveformLoader(wanted.encoder)
    return CachedLoader(loader, cache), CachedEncoder(cache)


def frozen(settings: FeatureSettings, device: torch.device) -> tuple[Loader, nn.Module, bool]:
    """The loader and the encoder that extract features, on `device`, and whether the encoder computes in bf16.

    Raises:
        UserError: a model is missing or of another kind, or the settings do not fit it.
    """
    if isinstance(settings, SalmonnFeatures):
        from abhinaya.modeling.encoders.salmonn import audio_encoders

        loader, encoder = audio_encoders.build(settings.encoder)
        return loader, encoder.to(device), False  # it selects its own precision
    bf16 = computes_bf16(settings.precision, device)
    if isinstance(settings, TextFeatures):
        from abhinaya.modeling.encoders import text

        loader, encoder = text.build(settings.encoder, 0, device, bf16)  # no part of it is random
    else:
        from abhinaya.modeling.encoders import speech

        loader, encoder = speech.build(settings.encoder, settings.seed or 0)
    return loader, encoder.to(device).eval(), bf16
