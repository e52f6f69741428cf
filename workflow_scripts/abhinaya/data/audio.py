"""Reading audio: any file that libsndfile knows becomes 16 kHz mono float32."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from abhinaya.runtime.errors import UserError

RATE = 16_000  # Hz; what every encoder here was trained on
BLOCK = 1 << 16  # frames that are decoded at a time, for all channels of an hour are gigabytes
UNKNOWN = 2**63 - 1  # frames: libsndfile's SF_COUNT_MAX


@dataclass(frozen=True)
class Decoded:
    """What a file holds."""

    seconds: float
    rate: int  # Hz, of the file
    channels: int
    waveform: np.ndarray | None  # as `read` returns it; None where it was not wanted


def read(path: str | Path) -> np.ndarray:
    """The waveform of `path`: (samples,) float32 in [-1, 1] at 16 kHz, channels averaged.

    Raises:
        UserError: absent, empty, not audio, cut off, or holding samples that are not numbers.
    """
    return decode(path).waveform


def probe(path: str | Path) -> tuple[float, int, int]:
    """Decode `path` once, to the end, so that no later stage can stumble over it.

    Returns:
        duration in seconds, sampling rate in Hz, number of channels.

    Raises:
        UserError: as `read`.
    """
    found = decode(path, beyond=math.inf)
    return found.seconds, found.rate, found.channels


def decode(path: str | Path, beyond: float = 0.0) -> Decoded:
    """Decode `path` once, to the end; its waveform is wanted if it is longer than `beyond` seconds.

    Raises:
        UserError: as `read`.
    """
    path = Path(path)
    frames, finite = 0, True
    try:
        if path.is_dir():
            raise UserError(f"{path}: a folder, not an audio file")
        if not path.is_file():
            raise UserError(f"{path}: no such audio file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: empty file (0 bytes)")
        with soundfile.SoundFile(path) as file:
            rate, channels, promised = file.samplerate, file.channels, file.frames
            if promised == UNKNOWN:
                raise ValueError("its header tells no length")
            wanted = _Waveform(promised, rate) if promised / rate > beyond else None
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                frames += len(block)
                finite = finite and bool(np.isfinite(block).all())
                if finite and wanted is not None:
                    wanted.add(block.mean(axis=1))
        cut = frames < promised or _wav_is_cut(path)
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:  # the last: an absurd length
        raise UserError(f"{path}: not readable audio ({' '.join(str(error).split())})") from None
    if cut:
        raise UserError(f"{path}: cut off; its header promises more audio")
    if frames == 0:
        raise UserError(f"{path}: no samples")
    if not finite:
        raise UserError(f"{path}: holds samples that are not numbers (NaN or infinite)")
    return Decoded(frames / rate, rate, channels, None if wanted is None else wanted.end())


class _Waveform:
    """Takes up mono blocks of `frames` samples in all, and resamples them as they come."""

    def __init__(self, frames: int, rate: int) -> None:
        self._samples = np.empty(math.ceil(frames * RATE / rate), np.float32)  # soxr returns no more
        self._filled = 0
        self._resampler = None if rate == RATE else soxr.ResampleStream(rate, RATE, num_channels=1)

    def add(self, block: np.ndarray) -> None:
        self._append(block if self._resampler is None else self._resampler.resample_chunk(block))

    def end(self) -> np.ndarray:
        """(samples,): the waveform, with what the resampler held back."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        return self._samples[: self._filled]

    def _append(self, samples: np.ndarray) -> None:
        self._samples[self._filled : self._filled + len(samples)] = samples
        self._filled += len(samples)


def _wav_is_cut(path: Path) -> bool:
    """Whether a RIFF file is shorter than its data chunk says: libsndfile reads such files without a word."""
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return False
        size = path.stat().st_size
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                streamed = length in (0, 0xFFFFFFFF)  # written by a pipe that could not go back to fill it in
                return not streamed and file.tell() + length > size
            file.seek(length + length % 2, 1)
    return False
