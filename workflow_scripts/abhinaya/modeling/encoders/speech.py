"""Speech encoders of transformers: WavLM, HuBERT, wav2vec 2.0 and the encoder of Whisper (paper: WavLM-large).

Whatever stands beside a clip in its batch, its vectors are those it would get alone: lengths are exact, padding is
masked wherever it could be felt.
"""

import difflib
import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperConfig, WhisperFeatureExtractor, set_seed
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.hub import cached_file, extract_commit_hash

from abhinaya.config.system import CONVOLUTIONAL, RANDOM, SpeechEncoder
from abhinaya.data import audio
from abhinaya.pretrained import ctranslate2
from abhinaya.pretrained.hub import locate
from abhinaya.runtime.errors import UserError

# WavLM's attention in transformers mixes a boolean with a float mask; torch tells so at every start.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")

MASK = "masked_spec_embed"  # serves SpecAugment alone; some checkpoints have none, and it is learnt
HOP = 160  # samples between Whisper's mel frames; its second convolution halves their number


class WaveformLoader:
    """Loads clips: 16 kHz mono, cropped to `max_seconds`, padded to `min_seconds` (docs/fidelity.md, 6, 9,
    11)."""

    def __init__(self, settings: SpeechEncoder, normalise: bool = False) -> None:
        self.most = round(settings.max_seconds * audio.RATE)
        self.least = round(settings.min_seconds * audio.RATE)
        self.normalise = normalise

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        return rows, []

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: the waveform (samples,)."""
        return {"inputs": torch.from_numpy(self.waveform(row["path"], generator))}

    def size(self, row: dict[str, Any]) -> float:
        return min(max(row["duration"] * audio.RATE, self.least), self.most)

    def waveform(self, path: str, generator: np.random.Generator | None) -> np.ndarray:
        """The crop (samples,) of a file, drawn by the `generator` if there is one."""
        waveform = audio.read(path)
        spare = len(waveform) - self.most
        if spare > 0:  # in the middle, unless training draws the place
            start = spare // 2 if generator is None else int(generator.integers(spare + 1))
            waveform = waveform[start : start + self.most]
        if self.normalise:  # some checkpoints were trained on unit variance; their preprocessor says so
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(waveform, (0, max(0, self.least - len(waveform))))


class MelLoader(WaveformLoader):
    """Loads clips as Whisper's log-mel frames, of the clip's own length or padded to Whisper's 30 s."""

    def __init__(self, settings: SpeechEncoder, config: WhisperConfig) -> None:
        super().__init__(settings)
        self.window = 2 * HOP * config.max_source_positions  # samples
        if self.most > self.window:
            raise UserError(
                f"encoder {settings.model!r}: Whisper hears at most {self.window / audio.RATE:g} s; lower `max_seconds`"
            )
        self.full = settings.window == "full"
        self.extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: log-mel frames (T, mels), T even, 100 a second."""
        return {"inputs": self.mels(self.waveform(row["path"], generator))}

    def mels(self, waveform: np.ndarray) -> Tensor:
        """(samples,) -> (T, mels)."""
        samples = self.window if self.full else -(-len(waveform) // (2 * HOP)) * 2 * HOP
        mels = self.extractor(
            np.pad(waveform, (0, samples - len(waveform))),
            sampling_rate=audio.RATE,
            padding=False,
            truncation=False,
            return_tensors="pt",
        )
        return mels.input_features[0].T.contiguous()


class SpeechModule(nn.Module):
    """What both kinds of encoder share.

    One that is frozen as a whole stays in evaluation mode, and if it is random, it is no part of a saved model: a
    cache leaves it out, and prediction draws it again from the seed.
    """

    def __init__(self, model: nn.Module, settings: SpeechEncoder) -> None:
        super().__init__()
        self.model = model
        self.width = model.config.hidden_size
        self.frozen = settings.frozen
        self.random_parts = ("",) if settings.random_parts and not self.frozen else ()
        self.revisions: dict[str, str | None] = {}  # commits of published models, by their keys
        if self.frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> "SpeechModule":
        return super().train(mode and not self.frozen)


class ConvolutionalEncoder(SpeechModule):
    """WavLM, HuBERT or wav2vec 2.0: vectors at 50 Hz."""

    def __init__(self, model: nn.Module, settings: SpeechEncoder) -> None:
        super().__init__(model, settings)
        self.per_clip = model.config.feat_extract_norm == "group"  # its first norm spans the whole time axis
        _cut(model.encoder, settings)
        _check_shortest(model.config, settings)
        model.feature_extractor._freeze_parameters()

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and their lengths -> vectors (B, T, H) and their lengths (B,)."""
        frames = self.model._get_feat_extract_output_lengths(lengths)
        local = self._convolve(inputs, lengths).transpose(1, 2)
        mask = torch.arange(local.shape[1], device=local.device) < frames[:, None]
        projected = self.model.feature_projection(local)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns the one, its kin two
        hidden = self.model._mask_hidden_states(hidden, attention_mask=mask)
        return self.model.encoder(hidden, attention_mask=mask).last_hidden_state, frames

    def _convolve(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, channels, frames); gradients stop here, the convolutions are always frozen."""
        with torch.no_grad():
            if not self.per_clip:
                return self.model.feature_extractor(inputs)
            clips = [
                self.model.feature_extractor(clip[None, :length])[0].T
                for clip, length in zip(inputs, lengths, strict=True)
            ]
            return nn.utils.rnn.pad_sequence(clips, batch_first=True).transpose(1, 2)


class WhisperSpeechEncoder(SpeechModule):
    """The encoder of Whisper on windows as long as the clips: vectors at 50 Hz.

    transformers' own forward takes exactly 30 s; the same layers work on any window when the position table is cut.
    """

    def __init__(self, model: WhisperEncoder, settings: SpeechEncoder) -> None:
        super().__init__(model, settings)
        _cut(model, settings)
        for module in (model.conv1, model.conv2, model.embed_positions):
            module.requires_grad_(False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel frames (B, T, mels), zeros behind each clip's `lengths` -> vectors (B, T / 2, H) and lengths (B,)."""
        hidden = gelu(self.model.conv2(gelu(self.model.conv1(inputs.transpose(1, 2))))).transpose(1, 2)
        frames = lengths // 2
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        mask = torch.arange(hidden.shape[1], device=hidden.device) < frames[:, None]
        attention = torch.zeros(mask.shape, dtype=hidden.dtype, device=hidden.device)
        attention = attention.masked_fill(~mask, torch.finfo(hidden.dtype).min)[:, None, None]
        for layer in self.model.layers:
            hidden = layer(hidden, attention)
        return self.model.layer_norm(hidden), frames


def build(settings: SpeechEncoder, seed: int) -> tuple[WaveformLoader, nn.Module]:
    """The loader and the encoder for `settings`.

    Raises:
        UserError: the model is absent or of another kind, or the settings do not fit it.
    """
    if settings.model.startswith(RANDOM):
        return wrap(draw(settings, seed), settings, normalise=False)
    place = locate(settings.model)
    if ctranslate2.is_ctranslate2(place):
        return wrap(ctranslate2.whisper_encoder(place), settings, normalise=False)
    try:
        revision = settings.revision or "main"
        model, report = AutoModel.from_pretrained(
            place, revision=revision, dtype=torch.float32, output_loading_info=True
        )
        processor = AutoFeatureExtractor.from_pretrained(place, revision=revision)
        normalise = processor.to_dict().get("do_normalize", False)
        commit = extract_commit_hash(cached_file(place, "config.json", revision=revision), None)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"encoder {settings.model!r}: cannot be loaded ({_first_line(error)}); check the name, the network "
            "and, for a gated model, the token, or give a local folder"
        ) from None
    _check_whole(model, report["missing_keys"], settings)
    loader, encoder = wrap(model, settings, normalise)
    encoder.revisions = {"revision": commit}
    return loader, encoder


def _check_whole(model: nn.Module, missing: set[str], settings: SpeechEncoder) -> None:
    """Refuse a checkpoint without weights that are read: transformers would draw them at random and only warn."""
    whisper = model.config.model_type == "whisper"  # its decoder has no part here
    read = sorted(name for name in missing if name != MASK and (not whisper or name.startswith("encoder.")))
    if read:
        raise UserError(
            f"encoder {settings.model!r}: the checkpoint lacks {len(read)} of its weights, {read[0]} for one; get the "
            "whole model"
        )


def draw(settings: SpeechEncoder, seed: int) -> nn.Module:
    """The model of `random:ARCHITECTURE`, its weights drawn from `seed`.

    Raises:
        UserError: `config` is not the architecture's.
    """
    kind = settings.model.removeprefix(RANDOM)
    default = AutoConfig.for_model(kind)
    known = {*default.to_dict(), *default.attribute_map}
    for key in settings.config.keys() - known:
        close = difflib.get_close_matches(key, known, n=1)
        fix = f"did you mean {close[0]}?" if close else f"see transformers' {type(default).__name__}"
        raise UserError(f"encoder {settings.model!r}: `config` has no key {key}; {fix}")
    set_seed(seed)
    try:
        return AutoModel.from_config(AutoConfig.for_model(kind, **settings.config))
    except (ValueError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise UserError(
            f"encoder {settings.model!r}: `config` makes no model ({_first_line(error)}); correct it"
        ) from None


def wrap(model: nn.Module, settings: SpeechEncoder, normalise: bool) -> tuple[WaveformLoader, nn.Module]:
    """The loader and the encoder around a model of transformers.

    Raises:
        UserError: it hears no speech, or the settings do not fit it.
    """
    kind = model.config.model_type
    if kind in CONVOLUTIONAL:
        return WaveformLoader(settings, normalise), ConvolutionalEncoder(model, settings)
    if kind == "whisper":
        model = model if isinstance(model, WhisperEncoder) else model.encoder
        return MelLoader(settings, model.config), WhisperSpeechEncoder(model, settings)
    raise UserError(f"encoder {settings.model!r}: a {kind} is no speech encoder; use WavLM, HuBERT, wav2vec2, Whisper")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_shortest(config: Any, settings: SpeechEncoder) -> None:
    """Refuse a `min_seconds` below what the convolutions, or one mask of SpecAugment, span."""
    masked = config.apply_spec_augment and config.mask_time_prob > 0 and settings.freeze != "all"
    needed = config.mask_time_length if masked else 1  # frames, then samples
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        needed = (needed - 1) * stride + kernel
    if round(settings.min_seconds * audio.RATE) < needed:
        raise UserError(
            f"encoder {settings.model!r}: `min_seconds` {settings.min_seconds:g} is too short for it; raise it to "
            f"{math.ceil(1000 * needed / audio.RATE) / 1000:g}"
        )


def _cut(transformer: nn.Module, settings: SpeechEncoder) -> None:
    """Drop the layers above `settings.layer`; nothing would read them."""
    if settings.layer is not None:
        if settings.layer > len(transformer.layers):
            raise UserError(
                f"encoder {settings.model!r}: `layer` {settings.layer}, but it has {len(transformer.layers)}; lower it"
            )
        transformer.layers = transformer.layers[: settings.layer]
