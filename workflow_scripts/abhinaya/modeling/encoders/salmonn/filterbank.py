"""The log-mel filter bank of Kaldi, as BEATs was trained on it (Chen et al. 2023; microsoft/unilm, beats/BEATs.py)."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, window_function

from abhinaya.data.audio import RATE

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, the next power of two
MELS = 128
LOWEST = 20.0  # Hz
PREEMPHASIS = 0.97
FULL_SCALE = 2**15  # Kaldi counts in 16-bit steps
FLOOR = torch.finfo(torch.float32).eps
MEAN, DEVIATION = 15.41663, 6.55582  # of AudioSet


def frames(samples: Tensor | int) -> Tensor | int:
    """How many whole windows a clip of `samples` has (Kaldi's `snip_edges`)."""
    return (samples - WINDOW) // HOP + 1


@torch.no_grad()
def filter_bank(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised log-mel energies, 100 frames a second; those of a clip do not depend on its batch mates.

    Args:
        waveforms: (B, N) float32 in [-1, 1] at 16 kHz, N >= 400.
        lengths: (B,) samples of each clip, >= 400; what stands behind them is not read.

    Returns:
        (B, T, 128) float32, zero behind a clip's end, whatever autocast says; frames of each clip (B,).
    """
    window, mels = _constants(waveforms.device)
    with torch.autocast(waveforms.device.type, enabled=False):  # half precision cannot hold the energies
        windows = (waveforms.float() * FULL_SCALE).unfold(-1, WINDOW, HOP)
        windows = windows - windows.mean(-1, keepdim=True)
        before = torch.cat([windows[..., :1], windows[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((windows - PREEMPHASIS * before) * window, n=FFT)
        energies = (spectrum.real.square() + spectrum.imag.square()) @ mels
        features = (energies.clamp(min=FLOOR).log() - MEAN) / (2 * DEVIATION)
    counts = frames(lengths)
    beyond = torch.arange(features.shape[1], device=features.device) >= counts[:, None]
    return features.masked_fill(beyond[..., None], 0.0), counts


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (400,) and the mel filters (257, 128); in no state dict, and float32 when a model is halved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of 128 filters lies between two bins; BEATs was trained so
        filters = mel_filter_bank(
            num_frequency_bins=FFT // 2 + 1,
            num_mel_filters=MELS,
            min_frequency=LOWEST,
            max_frequency=RATE / 2,
            sampling_rate=RATE,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    window = window_function(WINDOW, "povey", periodic=False)
    return tuple(torch.from_numpy(array).to(device, torch.float32) for array in (window, filters))
