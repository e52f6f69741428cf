"""The log-mel filter bank of Kaldi, as used to train BEATs (Chen et al. 2023; microsoft/unilm, beats/BEATs.py)."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, window_function

from abhinaya.data.audio import RATE

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, the next power of two of the window
MELS = 128
LOWEST = 20.0  # Hz
PREEMPHASIS = 0.97
FULL_SCALE = 2**15  # Kaldi uses 16-bit integer samples
FLOOR = torch.finfo(torch.float32).eps
MEAN, DEVIATION = 15.41663, 6.55582  # on AudioSet


@torch.no_grad()
def filter_bank(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised log-mel energies, 100 frames per second. They do not depend on the other clips of the batch.

    Computed in float64: in float32 the rounding errors of a frame's loudest frequencies exceed its quietest energies
    (errors of 2e-5 for speech, 0.04 for a pure tone).

    Args:
        waveforms: (B, N) float32 in [-1, 1] at 16 kHz, N >= 400.
        lengths: (B,) samples of each clip, >= 400; later samples are not used.

    Returns:
        (B, T, 128) float32, also under autocast, zero after a clip's end; number of frames of each clip (B,).
    """
    window, mels = _constants(waveforms.device)
    with torch.autocast(waveforms.device.type, enabled=False):
        windows = (waveforms.double() * FULL_SCALE).unfold(-1, WINDOW, HOP)
        windows = windows - windows.mean(-1, keepdim=True)
        before = torch.cat([windows[..., :1], windows[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((windows - PREEMPHASIS * before) * window, n=FFT)
        energies = (spectrum.real.square() + spectrum.imag.square()) @ mels
        features = ((energies.clamp(min=FLOOR).log() - MEAN) / (2 * DEVIATION)).float()
    counts = (lengths - WINDOW) // HOP + 1  # complete windows only, as Kaldi's `snip_edges`
    padding = torch.arange(features.shape[1], device=features.device) >= counts[:, None]
    return features.masked_fill(padding[..., None], 0.0), counts


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (400,) and the mel filters (257, 128), in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of the 128 filters is empty, as in the training of BEATs
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
    return tuple(torch.from_numpy(array).to(device, torch.float64) for array in (window, filters))
