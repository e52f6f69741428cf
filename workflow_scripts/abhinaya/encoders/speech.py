"""Speech encoders of transformers: WavLM, HuBERT, wav2vec 2.0 and the encoder of Whisper (paper: WavLM-large).

Whatever stands beside a clip in its batch, its vectors are those it would get alone: lengths are exact, padding is
masked wherever it could be felt.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, WhisperFeatureExtractor, set_seed
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya import audio
from abhinaya.config import SpeechEncoder
from abhinaya.encoders import ctranslate2
from abhinaya.errors import UserError
from abhinaya.models import locate

RANDOM = "random:"
CONVOLUTIONAL = ("wavlm", "hubert", "wav2vec2")  # raw waveform -> convolutions -> transformer
WHISPER_SECONDS = 30
HOP = 160  # samples between Whisper's mel frames; its second convolution halves their number


class Clips:
    """Loads clips: 16 kHz mono, cropped to `max_seconds`, padded to `min_seconds` (facts, resolutions 7, 14, 16)."""

    def __init__(self, settings: SpeechEncoder, normalise: bool = False) -> None:
        self.most = round(settings.max_seconds * audio.RATE)
        self.least = round(settings.min_seconds * audio.RATE)
        self.normalise = normalise

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: the waveform (samples,)."""
        return {"inputs": torch.from_numpy(self._waveform(row["path"], generator))}

    def size(self, row: dict[str, Any]) -> float:
        return min(max(row["duration"] * audio.RATE, self.least), self.most)

    def _waveform(self, path: str, generator: np.random.Generator | None) -> np.ndarray:
        waveform = audio.read(path)
        spare = len(waveform) - self.most
        if spare > 0:  # in the middle, unless training draws the place
            start = spare // 2 if generator is None else int(generator.integers(spare + 1))
            waveform = waveform[start : start + self.most]
        if self.normalise:  # some checkpoints were trained on unit variance; their preprocessor says so
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(waveform, (0, max(0, self.least - len(waveform))))


class MelClips(Clips):
    """Loads clips as Whisper's log-mel frames, of the clip's own length or padded to Whisper's 30 s."""

    def __init__(self, settings: SpeechEncoder, mels: int) -> None:
        super().__init__(settings)
        self.full = settings.window == "full"
        self.extractor = WhisperFeatureExtractor(feature_size=mels)

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: log-mel frames (T, mels), T even, 100 a second."""
        waveform = self._waveform(row["path"], generator)
        samples = WHISPER_SECONDS * audio.RATE if self.full else -(-len(waveform) // (2 * HOP)) * 2 * HOP
        mels = self.extractor(
            np.pad(waveform, (0, samples - len(waveform))),
            sampling_rate=audio.RATE,
            padding=False,
            return_tensors="pt",
        )
        return {"inputs": mels.input_features[0].T.contiguous()}


class ConvolutionalEncoder(nn.Module):
    """WavLM, HuBERT or wav2vec 2.0: vectors at 50 Hz."""

    def __init__(self, model: nn.Module, settings: SpeechEncoder) -> None:
        super().__init__()
        self.model = model
        self.width = model.config.hidden_size
        self.random = settings.model.startswith(RANDOM)
        self.per_clip = model.config.feat_extract_norm == "group"  # its first norm spans the whole time axis
        _cut(model.encoder, settings)
        model.freeze_feature_encoder()

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


class WhisperSpeechEncoder(nn.Module):
    """The encoder of Whisper on windows as long as the clips: vectors at 50 Hz.

    transformers' own forward takes exactly 30 s; the same layers work on any window when the position table is cut.
    """

    def __init__(self, model: WhisperEncoder, settings: SpeechEncoder) -> None:
        super().__init__()
        self.model = model
        self.width = model.config.d_model
        self.random = settings.model.startswith(RANDOM)
        _cut(model, settings)
        for module in (model.conv1, model.conv2):
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


def build(settings: SpeechEncoder, seed: int) -> tuple[Clips, nn.Module]:
    """The loader and the encoder for `settings`.

    Raises:
        UserError: the model is absent or of another kind, or the settings do not fit it.
    """
    if settings.model.startswith(RANDOM):
        return _wrap(_random(settings, seed), settings, normalise=False)
    place = locate(settings.model)
    if ctranslate2.is_ctranslate2(place):
        return _wrap(ctranslate2.whisper_encoder(place), settings, normalise=False)
    try:
        model = AutoModel.from_pretrained(place, dtype=torch.float32)
        normalise = AutoFeatureExtractor.from_pretrained(place).to_dict().get("do_normalize", False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"encoder {settings.model!r}: cannot be loaded ({str(error).splitlines()[0]}); check the name, the network "
            "and, for a gated model, the token, or give a local folder"
        ) from None
    return _wrap(model, settings, normalise)


def _random(settings: SpeechEncoder, seed: int) -> nn.Module:
    kind = settings.model.removeprefix(RANDOM)
    if kind not in (*CONVOLUTIONAL, "whisper"):
        raise UserError(f"encoder {settings.model!r}: unknown architecture; use {', '.join(CONVOLUTIONAL)} or whisper")
    set_seed(seed)
    return AutoModel.from_config(AutoConfig.for_model(kind, **settings.config))


def _wrap(model: nn.Module, settings: SpeechEncoder, normalise: bool) -> tuple[Clips, nn.Module]:
    kind = model.config.model_type
    if kind in CONVOLUTIONAL:
        loader, encoder = Clips(settings, normalise), ConvolutionalEncoder(model, settings)
    elif kind == "whisper":
        model = model if isinstance(model, WhisperEncoder) else model.encoder
        loader, encoder = MelClips(settings, model.config.num_mel_bins), WhisperSpeechEncoder(model, settings)
        if settings.max_seconds > WHISPER_SECONDS:
            raise UserError(f"encoder {settings.model!r}: Whisper hears at most 30 s; lower `max_seconds`")
    else:
        raise UserError(
            f"encoder {settings.model!r}: a {kind} is no speech encoder; use WavLM, HuBERT, wav2vec2, Whisper"
        )
    if settings.freeze == "all":
        encoder.requires_grad_(False)
    return loader, encoder


def _cut(transformer: nn.Module, settings: SpeechEncoder) -> None:
    """Drop the layers above `settings.layer`; nothing would read them."""
    if settings.layer is not None:
        if settings.layer > len(transformer.layers):
            raise UserError(
                f"encoder {settings.model!r}: `layer` {settings.layer}, but it has {len(transformer.layers)}; lower it"
            )
        transformer.layers = transformer.layers[: settings.layer]
