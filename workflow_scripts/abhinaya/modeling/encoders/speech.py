"""Speech encoders of transformers: WavLM, HuBERT, wav2vec 2.0 and the encoder of Whisper (paper: WavLM-large).

The vectors of a clip do not depend on the other clips of its batch: lengths are exact, and padding is masked wherever
it could have an effect.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, gelu
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperConfig, WhisperFeatureExtractor, set_seed
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.hub import cached_file, extract_commit_hash

from abhinaya.config.system import CONVOLUTIONAL, RANDOM, SpeechEncoder
from abhinaya.data import audio
from abhinaya.modeling.encoders import wavlm_attention
from abhinaya.modeling.encoders.base import PretrainedEncoder, check_layer, new_model
from abhinaya.pretrained import ctranslate2
from abhinaya.pretrained.hub import is_local, locate
from abhinaya.pretrained.loading import check_complete, loading
from abhinaya.runtime.errors import UserError

MASK = "masked_spec_embed"  # used by SpecAugment only; trained if a checkpoint does not contain it
SILENCE = 1e-12  # energy of a frame without any sound
HOP = 160  # samples between Whisper's mel frames; its second convolution halves the number of frames


class WaveformLoader:
    """Loads clips: 16 kHz mono, cropped to `max_seconds`, padded to `min_seconds` (docs/fidelity.md, 6, 9, 11)."""

    def __init__(self, settings: SpeechEncoder, normalise: bool = False) -> None:
        """
        Args:
            normalise: to zero mean and unit variance, as the preprocessors of some checkpoints do.
        """
        self.max_samples = round(settings.max_seconds * audio.RATE)
        self.min_samples = round(settings.min_seconds * audio.RATE)
        self.normalise = normalise

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        return rows, []

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: the waveform (samples,)."""
        return {"inputs": torch.from_numpy(self.waveform(row["path"], generator))}

    def size(self, row: dict[str, Any]) -> float:
        return min(max(row["duration"] * audio.RATE, self.min_samples), self.max_samples)

    def waveform(self, path: str, generator: np.random.Generator | None) -> np.ndarray:
        """The waveform (samples,) of a file; cropped at random with a `generator`, otherwise to the middle."""
        waveform = audio.read(path)
        excess = len(waveform) - self.max_samples
        if excess > 0:
            start = excess // 2 if generator is None else int(generator.integers(excess + 1))
            waveform = waveform[start : start + self.max_samples]
        if self.normalise:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(waveform, (0, max(0, self.min_samples - len(waveform))))


class MelLoader(WaveformLoader):
    """Loads clips as Whisper's log-mel frames, of the clip's length or padded to Whisper's 30 s."""

    def __init__(self, settings: SpeechEncoder, config: WhisperConfig) -> None:
        super().__init__(settings)
        self.window = 2 * HOP * config.max_source_positions  # samples
        if self.max_samples > self.window:
            raise UserError(
                f"encoder {settings.model!r}: Whisper's input is at most {self.window / audio.RATE:g} s; lower "
                "`max_seconds`"
            )
        self.full = settings.window == "full"
        self.extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: log-mel frames (T, mels), T even, 100 a second."""
        return {"inputs": self.mels(self.waveform(row["path"], generator))}

    def mels(self, waveform: np.ndarray) -> Tensor:
        """(samples,) -> (T, mels)."""
        samples = self.window if self.full else -(-len(waveform) // (2 * HOP)) * 2 * HOP
        waveform = np.pad(waveform, (0, samples - len(waveform)))
        options = {"padding": False, "truncation": False, "return_tensors": "pt"}
        return self.extractor(waveform, sampling_rate=audio.RATE, **options).input_features[0].T.contiguous()


class SpeechModule(PretrainedEncoder):
    """Base of both kinds of encoder.

    A completely frozen encoder with random weights is not stored in the model folder, since feature caches do not
    contain its weights; prediction draws them again from the seed.
    """

    def __init__(self, model: nn.Module, settings: SpeechEncoder) -> None:
        super().__init__(model, model.config.hidden_size + settings.levels, settings.frozen)
        self.levels = settings.levels
        if settings.frozen:
            self.requires_grad_(False)
        elif settings.random_parts:
            self.random_parts = ("",)

    def with_levels(self, vectors: Tensor, frames: Tensor, energies: Tensor) -> Tensor:
        """Vectors (B, T, H), with `levels` (B, T, H + 1): the level of each frame in dB below the clip's loudest.

        Args:
            frames: numbers of vectors (B,).
            energies: of the frames (B, T), in any unit.
        """
        if not self.levels:
            return vectors
        padding = torch.arange(vectors.shape[1], device=vectors.device) >= frames[:, None]
        decibels = 10 * energies.float().clamp(min=SILENCE).log10().masked_fill(padding, float("-inf"))
        levels = (decibels - decibels.amax(1, keepdim=True)).masked_fill(padding, 0.0)
        return torch.cat([vectors, levels[..., None].to(vectors.dtype)], dim=-1)


class ConvolutionalEncoder(SpeechModule):
    """WavLM, HuBERT or wav2vec 2.0: vectors at 50 Hz."""

    def __init__(self, model: nn.Module, settings: SpeechEncoder) -> None:
        super().__init__(model, settings)
        self.per_clip = model.config.feat_extract_norm == "group"  # the first norm spans the whole time axis
        _remove_layers(model.encoder, settings)
        _check_min_seconds(model.config, settings)
        wavlm_attention.fuse(model.encoder)
        model.feature_extractor._freeze_parameters()

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and their lengths -> vectors (B, T, H) and their lengths (B,)."""
        frames = self.model._get_feat_extract_output_lengths(lengths)
        local = self._convolve(inputs, lengths).transpose(1, 2)
        mask = torch.arange(local.shape[1], device=local.device) < frames[:, None]
        projected = self.model.feature_projection(local)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT's returns no tuple
        hidden = self.model._mask_hidden_states(hidden, attention_mask=mask)
        vectors = self.model.encoder(hidden, attention_mask=mask).last_hidden_state
        return self.with_levels(vectors, frames, self._energies(inputs)), frames

    def _energies(self, inputs: Tensor) -> Tensor:
        """The mean square of the samples (B, samples) behind each frame, (B, frames)."""
        window, stride = 1, 1
        for kernel, step in zip(self.model.config.conv_kernel, self.model.config.conv_stride, strict=True):
            window, stride = window + (kernel - 1) * stride, stride * step
        return avg_pool1d(inputs[:, None].square(), window, stride)[:, 0]

    def _convolve(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, channels, frames), without gradients: the convolutions are always frozen."""
        with torch.no_grad():
            if not self.per_clip:
                return self.model.feature_extractor(inputs)
            clips = [
                self.model.feature_extractor(clip[None, :length])[0].T
                for clip, length in zip(inputs, lengths, strict=True)
            ]
            return nn.utils.rnn.pad_sequence(clips, batch_first=True).transpose(1, 2)


class WhisperSpeechEncoder(SpeechModule):
    """The encoder of Whisper on windows of the clips' length: vectors at 50 Hz.

    transformers' own forward accepts exactly 30 s. The same layers work on any window if the position embeddings are
    truncated.
    """

    def __init__(self, model: WhisperEncoder, settings: SpeechEncoder) -> None:
        super().__init__(model, settings)
        self.full = settings.window == "full"
        _remove_layers(model, settings)
        for module in (model.conv1, model.conv2, model.embed_positions):
            module.requires_grad_(False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel frames (B, T, mels), zero after each clip's `lengths` -> vectors (B, T / 2, H) and lengths (B,).

        With `window: full` all lengths are T: silence is input, and the attention needs no mask.
        """
        hidden = gelu(self.model.conv2(gelu(self.model.conv1(inputs.transpose(1, 2))))).transpose(1, 2)
        frames = lengths // 2
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        mask = None
        if not self.full:
            padding = torch.arange(hidden.shape[1], device=hidden.device) >= frames[:, None]
            mask = hidden.new_zeros(padding.shape).masked_fill(padding, torch.finfo(hidden.dtype).min)[:, None, None]
        for layer in self.model.layers:
            hidden = layer(hidden, mask)
        return self.with_levels(self.model.layer_norm(hidden), frames, self._energies(inputs)), frames

    def _energies(self, inputs: Tensor) -> Tensor:
        """The power of each vector's two mel frames, summed over the bands, (B, T / 2); inputs are log10(p) / 4 + 1."""
        return (10 ** (4 * inputs.float() - 4)).sum(-1).unflatten(1, (-1, 2)).mean(-1)


def build(settings: SpeechEncoder, seed: int) -> tuple[WaveformLoader, SpeechModule]:
    """The loader and the encoder for `settings`.

    Raises:
        UserError: the model is missing or of another kind, or the settings do not fit it.
    """
    if settings.model.startswith(RANDOM):
        return wrap(draw(settings, seed), settings, normalise=False)
    place = locate(settings.model)
    if ctranslate2.is_ctranslate2(place):
        return wrap(ctranslate2.whisper_encoder(place), settings, normalise=False)
    revision = settings.revision or "main"
    with loading(f"encoder {settings.model!r}", is_local(settings.model)):
        model, report = AutoModel.from_pretrained(
            place, revision=revision, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
        processor = AutoFeatureExtractor.from_pretrained(place, revision=revision)
        commit = extract_commit_hash(cached_file(place, "config.json", revision=revision), None)
    whisper = model.config.model_type == "whisper"  # its decoder is not used
    missing = (name for name in report["missing_keys"] if name != MASK and (not whisper or name.startswith("encoder.")))
    check_complete(f"encoder {settings.model!r}", missing, report["mismatched_keys"])
    loader, encoder = wrap(model, settings, processor.to_dict().get("do_normalize", False))
    encoder.revisions = {"revision": commit}
    return loader, encoder


def draw(settings: SpeechEncoder, seed: int) -> nn.Module:
    """The model of `random:ARCHITECTURE`, with weights drawn from `seed`.

    Raises:
        UserError: `config` does not fit the architecture.
    """
    default = AutoConfig.for_model(settings.model.removeprefix(RANDOM))
    set_seed(seed)
    return new_model(f"encoder {settings.model!r}: `config`", default, settings.config, AutoModel.from_config)


def wrap(model: nn.Module, settings: SpeechEncoder, normalise: bool) -> tuple[WaveformLoader, SpeechModule]:
    """The loader and the encoder for a model of transformers.

    Raises:
        UserError: it is not a speech encoder, or the settings do not fit it.
    """
    kind = model.config.model_type
    if kind in CONVOLUTIONAL:
        return WaveformLoader(settings, normalise), ConvolutionalEncoder(model, settings)
    if kind == "whisper":
        model = model if isinstance(model, WhisperEncoder) else model.encoder
        return MelLoader(settings, model.config), WhisperSpeechEncoder(model, settings)
    raise UserError(
        f"encoder {settings.model!r}: a {kind} is not a speech encoder; use WavLM, HuBERT, wav2vec2 or Whisper"
    )


def _check_min_seconds(config: Any, settings: SpeechEncoder) -> None:
    """Refuse a `min_seconds` that is shorter than the convolutions' window or than one mask of SpecAugment."""
    masked = config.apply_spec_augment and config.mask_time_prob > 0 and settings.freeze != "all"
    needed = config.mask_time_length if masked else 1  # frames; in the loop, of each layer's input
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        needed = (needed - 1) * stride + kernel
    if round(settings.min_seconds * audio.RATE) < needed:
        raise UserError(
            f"encoder {settings.model!r}: `min_seconds` {settings.min_seconds:g} is too short for this model; raise it "
            f"to {math.ceil(1000 * needed / audio.RATE) / 1000:g}"
        )


def _remove_layers(transformer: nn.Module, settings: SpeechEncoder) -> None:
    """Remove the layers above `settings.layer`, which are not used."""
    check_layer(settings.model, settings.layer, len(transformer.layers))
    transformer.layers = transformer.layers[: settings.layer]
