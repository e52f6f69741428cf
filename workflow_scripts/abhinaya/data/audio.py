"""Reading audio: any file that libsndfile supports, as 16 kHz mono float32."""

import math
from pathlib import Path

import numpy as np
import soundfile
import soxr

from abhinaya.runtime.errors import UserError

RATE = 16_000  # Hz; the rate that all encoders expect
BLOCK = 1 << 16  # frames decoded at a time; an hour with all its channels would take gigabytes
# Full scale is 1. Float files of real recordings exceed it a little (clipping, peaks between samples), never 40 dB.
MAX_SAMPLE = 100.0
SUFFIXES = (".wav", ".WAV", ".flac", ".mp3", ".ogg", ".opus", ".m4a")  # looked for if a file is missing
UNKNOWN_LENGTH = 2**63 - 1  # frames: libsndfile's SF_COUNT_MAX


def read(path: str | Path) -> np.ndarray:
    """The waveform of `path`: (samples,) float32, full scale 1, at 16 kHz, channels averaged.

    Raises:
        UserError: the file is missing, empty, not audio or truncated, or has samples that are not numbers or are above
            `MAX_SAMPLE`.
    """
    return decode(path)[1]


def duration(path: str | Path) -> float:
    """The duration of `path` in seconds. The whole file is decoded, so that no later stage fails on it.

    Raises:
        UserError: as `read`.
    """
    return decode(path, longer_than=math.inf)[0]


def decode(path: str | Path, longer_than: float = 0.0) -> tuple[float, np.ndarray | None]:
    """Decode the whole file `path` once.

    Returns:
        the duration in seconds, and the waveform as `read` returns it, or None if the file is not longer than
        `longer_than` seconds.

    Raises:
        UserError: as `read`.
    """
    path = Path(path)
    frames, highest = 0, 0.0
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not an audio file")
        if not path.is_file():
            other = next((path.with_suffix(end).name for end in SUFFIXES if path.with_suffix(end).is_file()), None)
            raise UserError(f"{path}: audio file not found" + (f"; did you mean {other}?" if other else ""))
        if path.stat().st_size == 0:
            raise UserError(f"{path}: file is empty (0 bytes)")
        with soundfile.SoundFile(path) as file:
            rate, announced = file.samplerate, file.frames
            if announced == UNKNOWN_LENGTH:
                raise ValueError("the header has no length")
            waveform = _Waveform(announced, rate) if announced / rate > longer_than else None
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                frames += len(block)
                highest = float(np.maximum(highest, np.abs(block).max()))  # NaN stays NaN
                if highest <= MAX_SAMPLE and waveform is not None:
                    waveform.add(block.mean(axis=1))
        truncated = frames < announced or _wav_is_truncated(path)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, MemoryError) as error:
        # MemoryError: a corrupt length; TypeError: `.raw` files, which have no header.
        if isinstance(error, soundfile.SoundFileError) and _is_lfs_pointer(path):
            raise UserError(f"{path}: a pointer of Git LFS, not the audio; run `git lfs pull` in its folder") from None
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be decoded as audio ({reason}); convert it to WAV or FLAC") from None
    if truncated:
        raise UserError(f"{path}: truncated; the header announces more audio")
    if frames == 0:
        raise UserError(f"{path}: contains no samples")
    if not np.isfinite(highest):
        raise UserError(f"{path}: contains NaN or infinite samples")
    if highest > MAX_SAMPLE:
        raise UserError(f"{path}: has samples up to {highest:.3g}, but full scale is 1; save it again")
    return frames / rate, None if waveform is None else waveform.end()


class _Waveform:
    """Resamples and collects mono blocks, `frames` samples in total."""

    def __init__(self, frames: int, rate: int) -> None:
        self._samples = np.empty(math.ceil(frames * RATE / rate), np.float32)  # upper bound of what soxr returns
        self._filled = 0
        self._resampler = None if rate == RATE else soxr.ResampleStream(rate, RATE, num_channels=1)

    def add(self, block: np.ndarray, last: bool = False) -> None:
        if self._resampler is not None:
            block = self._resampler.resample_chunk(block, last)
        self._samples[self._filled : self._filled + len(block)] = block
        self._filled += len(block)

    def end(self) -> np.ndarray:
        """(samples,): the waveform, including the rest in the resampler's buffer."""
        self.add(np.empty(0, np.float32), last=True)
        return self._samples[: self._filled]


def _is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the text that a clone without Git LFS has in the place of a large file."""
    if path.stat().st_size > 1024:
        return False
    content = path.read_bytes()
    return content.startswith(b"version ") and b"\noid sha256:" in content


def _wav_is_truncated(path: Path) -> bool:
    """Whether a WAV file is shorter than its data chunk announces; libsndfile does not report this."""
    with path.open("rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return False
        size = path.stat().st_size
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                streamed = length in (0, 0xFFFFFFFF)  # written to a pipe: length unknown
                return not streamed and file.tell() + length > size
            file.seek(length + length % 2, 1)
    return False
