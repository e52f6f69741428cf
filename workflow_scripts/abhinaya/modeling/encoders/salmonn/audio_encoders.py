"""The frozen half of SALMONN: Whisper's encoder and BEATs, and the loader of their inputs."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from abhinaya.config.system import AudioEncoder, SpeechEncoder
from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders import speech
from abhinaya.modeling.encoders.salmonn import beats
from abhinaya.modeling.encoders.salmonn.qformer import HOP, WINDOW, WINDOWS, covered
from abhinaya.modeling.precision import half
from abhinaya.runtime.errors import UserError

SEED = 1234  # of random BEATs, whatever the training's: trainings with other seeds share the cached features
SECONDS = 30  # that SALMONN's Whisper hears at once


class DualAudioEncoder(nn.Module):
    """Whisper's encoder and BEATs: frozen, in evaluation mode, without gradients.

    They compute in bf16 on a GPU and in fp32 on a CPU, whatever the system around them does, so that a cache holds
    what would be extracted on the fly.
    """

    def __init__(self, whisper: speech.WhisperSpeechEncoder, hears: beats.Beats, settings: AudioEncoder) -> None:
        super().__init__()
        self.whisper, self.beats = whisper, hears
        self.revisions = whisper.revisions
        self.widths = {"speech": whisper.width, "audio": hears.width}
        self.dtype = torch.float16 if settings.precision == "fp16" else torch.float32
        self.clip_alone = settings.speech_window == "clip"
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(
        self, mels: Tensor, mels_lengths: Tensor, waveform: Tensor, waveform_lengths: Tensor
    ) -> dict[str, Tensor]:
        """Log-mel frames (B, T, mels) and waveforms (B, N) as batches of vectors and of lengths: `speech` (Whisper's)
        and `audio` (BEATs')."""
        with half(mels.device):
            vectors, _ = self.whisper(mels, mels_lengths)
            sounds, sounds_lengths = self.beats(waveform, waveform_lengths)
        windows = covered(waveform_lengths) if self.clip_alone else torch.full_like(waveform_lengths, WINDOWS)
        return {
            "speech": vectors[:, : WINDOW * int(windows.max())].to(self.dtype),
            "speech_lengths": WINDOW * windows,
            "audio": sounds.to(self.dtype),
            "audio_lengths": sounds_lengths,
        }

    def train(self, mode: bool = True) -> "DualAudioEncoder":
        return super().train(False)


class AudioLoader:
    """Loads clips for `DualAudioEncoder`."""

    def __init__(self, settings: AudioEncoder, clips: speech.MelLoader) -> None:
        self.settings, self.clips = settings, clips

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        return rows, []

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`waveform` (N,) and `mels` (T, mels) of it."""
        waveform = self.clips.waveform(row["path"], generator)
        span = covered(len(waveform)) * WINDOW * HOP if self.settings.window == "clip" else len(waveform)
        mels = self.clips.mels(np.pad(waveform, (0, max(0, span - len(waveform)))))
        return {"waveform": torch.from_numpy(waveform), "mels": mels}

    def size(self, row: dict[str, Any]) -> float:
        return self.clips.size(row)


def build(settings: AudioEncoder) -> tuple[AudioLoader, DualAudioEncoder]:
    """The loader and the encoder, whose `revisions` tell the commit of a published Whisper.

    Raises:
        UserError: a part is absent or of another kind.
    """
    whisper = SpeechEncoder(
        model=settings.whisper,
        revision=settings.revision,
        freeze="all",
        layer=settings.layer,
        window=settings.window,
        max_seconds=settings.max_seconds,
        min_seconds=settings.min_seconds,
    )
    clips, encoder = speech.build(whisper, SEED)
    if not isinstance(clips, speech.MelLoader):
        raise UserError(f"encoder {settings.whisper!r}: is no Whisper; name one for `audio_encoder.whisper`")
    if clips.window != SECONDS * RATE:
        raise UserError(
            f"encoder {settings.whisper!r}: hears {clips.window / RATE:g} s at once, and SALMONN's hears {SECONDS}; "
            "name one of OpenAI's for `audio_encoder.whisper`"
        )
    hears = beats.random(settings.beats_config, SEED) if settings.has_random_beats else beats.load(settings.beats)
    return AudioLoader(settings, clips), DualAudioEncoder(encoder, hears, settings).eval()
