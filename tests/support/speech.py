"""Speech of eSpeak NG and noise, as arrays and files for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from abhinaya.data.audio import RATE
from abhinaya.data.corpora.espeak import Prosody, Request, speak


def spoken(sentences: Sequence[str]) -> list[np.ndarray]:
    """Each sentence, spoken by a female voice: (samples,) float32 at 16 kHz."""
    prosody = Prosody(pitch=50, range=50, rate=150, volume=80, word_gap=2)
    requests = [Request(sentence, "en-us+f2", prosody) for sentence in sentences]
    return [soxr.resample(wave.astype(np.float32) / 2**15, rate, RATE) for wave, rate in speak(requests)]


def write_noise(path: Path, seconds: float = 0.2, rate: int = RATE, channels: int = 1) -> Path:
    """Write noise, which differs between names of different length; return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(path.name)).uniform(-0.3, 0.3, (round(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path
