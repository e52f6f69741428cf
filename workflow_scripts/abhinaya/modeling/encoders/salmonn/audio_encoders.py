"""The frozen audio encoders of SALMONN, Whisper's encoder and BEATs, and the loader of their inputs."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abhinaya.config.system import AudioEncoder
from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders import speech
from abhinaya.modeling.encoders.salmonn import beats
from abhinaya.modeling.encoders.salmonn.qformer import HOP, WINDOW, WINDOWS, covered
from abhinaya.modeling.precision import autocast
from abhinaya.runtime.errors import UserError

SEED = 1234  # of random BEATs; fixed, so that trainings with other seeds can share cached features
SECONDS = 30  # input length of SALMONN's Whisper


class DualAudioEncoder(nn.Module):
    """Whisper's encoder and BEATs: frozen, in evaluation mode, without gradients.

    They compute in bf16 on a GPU and in fp32 on a CPU, independent of the system's `precision`, so that cached features
    equal those computed on the fly.
    """

    def __init__(self, whisper: speech.WhisperSpeechEncoder, beats: beats.Beats, settings: AudioEncoder) -> None:
        super().__init__()
        self.whisper, self.beats = whisper, beats
        self.revisions = whisper.revisions
        self.widths = {"speech": whisper.width, "audio": beats.width}
        self.dtype = torch.float16 if settings.precision == "fp16" else torch.float32
        self.clip_only = settings.speech_window == "clip"
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(
        self, mels: Tensor, mels_lengths: Tensor, waveform: Tensor, waveform_lengths: Tensor
    ) -> dict[str, Tensor]:
        """Log-mel frames (B, T, mels) and waveforms (B, N) -> `speech` (Whisper's vectors), `audio` (BEATs' vectors),
        both (B, T, W), and their lengths `speech_lengths` and `audio_lengths`, both (B,)."""
        with autocast("auto", mels.device):
            speech, _ = self.whisper(mels, mels_lengths)
            audio, audio_lengths = self.beats(waveform, waveform_lengths)
        windows = covered(waveform_lengths) if self.clip_only else torch.full_like(waveform_lengths, WINDOWS)
        return {
            "speech": speech[:, : WINDOW * int(windows.max())].to(self.dtype),
            "speech_lengths": WINDOW * windows,
            "audio": audio.to(self.dtype),
            "audio_lengths": audio_lengths,
        }

    def train(self, mode: bool = True) -> "DualAudioEncoder":
        return super().train(False)


class AudioLoader:
    """Loads clips for `DualAudioEncoder`."""

    def __init__(self, settings: AudioEncoder, clips: speech.MelLoader) -> None:
        self.settings, self.clips = settings, clips
        self.prepare, self.size = clips.prepare, clips.size

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`waveform` (N,) and its `mels` (T, mels)."""
        waveform = self.clips.waveform(row["path"], generator)
        samples = covered(len(waveform)) * WINDOW * HOP if self.settings.window == "clip" else len(waveform)
        mels = self.clips.mels(np.pad(waveform, (0, max(0, samples - len(waveform)))))
        return {"waveform": torch.from_numpy(waveform), "mels": mels}


def build(settings: AudioEncoder) -> tuple[AudioLoader, DualAudioEncoder]:
    """The loader and the encoder; its `revisions` contain the commit of a published Whisper.

    Raises:
        UserError: a model is missing or of another kind.
    """
    clips, encoder = speech.build(settings.speech_encoder, SEED)
    if not isinstance(clips, speech.MelLoader):
        raise UserError(f"encoder {settings.whisper!r}: not a Whisper model; use one for `audio_encoder.whisper`")
    if clips.window != SECONDS * RATE:
        raise UserError(
            f"encoder {settings.whisper!r}: its input is {clips.window / RATE:g} s, but SALMONN needs {SECONDS} s; use "
            "one of OpenAI's models for `audio_encoder.whisper`"
        )
    audio = beats.random(settings.beats_config, SEED) if settings.has_random_beats else beats.load(settings.beats)
    return AudioLoader(settings, clips), DualAudioEncoder(encoder, audio, settings).eval()
