"""A recurrent network over log-mel frames, trained from random weights: usual before pretrained encoders."""

from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import WhisperFeatureExtractor, set_seed

from abhinaya.config.system import MelEncoder
from abhinaya.data import audio
from abhinaya.modeling.encoders.speech import WaveformLoader


class LogMel(WaveformLoader):
    """Loads clips as log-mel frames, those of Whisper."""

    def __init__(self, settings: MelEncoder) -> None:
        super().__init__(settings)
        self.extractor = WhisperFeatureExtractor(feature_size=settings.mels)

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: log-mel frames (T, mels), 100 a second."""
        waveform = self.waveform(row["path"], generator)
        mels = self.extractor(waveform, sampling_rate=audio.RATE, padding=False, truncation=False, return_tensors="pt")
        return {"inputs": mels.input_features[0].T.contiguous()}


class RecurrentEncoder(nn.Module):
    """A bidirectional GRU over each clip's own length."""

    random_parts = ()  # all its weights are trained, and so saved

    def __init__(self, settings: MelEncoder) -> None:
        super().__init__()
        self.width = 2 * settings.hidden
        self.revisions: dict[str, str | None] = {}
        self.gru = nn.GRU(settings.mels, settings.hidden, settings.layers, batch_first=True, bidirectional=True)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel frames (B, T, mels) and their lengths -> vectors (B, T, H) and the same lengths."""
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0], lengths


def build(settings: MelEncoder, seed: int) -> tuple[LogMel, RecurrentEncoder]:
    """The loader and the encoder, its weights drawn from `seed`."""
    set_seed(seed)
    return LogMel(settings), RecurrentEncoder(settings)
