"""Reading audio: any file that libsndfile knows becomes 16 kHz mono float32."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from abhinaya.errors import UserError

RATE = 16_000  # Hz; what every encoder here was trained on


def read(path: str | Path) -> np.ndarray:
    """The waveform of `path`: (samples,) float32 in [-1, 1] at 16 kHz, channels averaged.

    Raises:
        UserError: absent, empty, not audio, cut off, or holding samples that are not numbers.
    """
    waveform, rate = _decode(Path(path))
    mono = waveform.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def probe(path: str | Path) -> tuple[float, int, int]:
    """Decode `path` once, to the end, so that no later stage can stumble over it.

    Returns:
        duration in seconds, sampling rate in Hz, number of channels.

    Raises:
        UserError: as `read`.
    """
    waveform, rate = _decode(Path(path))
    return len(waveform) / rate, rate, waveform.shape[1]


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (frames, channels) float32 and the sampling rate."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such audio file")
        if path.stat().st_size == 0:
            raise UserError(f"{path}: empty file (0 bytes)")
        with soundfile.SoundFile(path) as file:
            rate, promised = file.samplerate, file.frames
            waveform = file.read(dtype="float32", always_2d=True)
        cut = len(waveform) < promised or _wav_is_cut(path)
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:  # the last two: an absurd length
        raise UserError(f"{path}: not readable audio ({' '.join(str(error).split())})") from None
    if cut:
        raise UserError(f"{path}: cut off; its header promises more audio")
    if len(waveform) == 0:
        raise UserError(f"{path}: no samples")
    if not np.isfinite(waveform).all():
        raise UserError(f"{path}: holds samples that are not numbers (NaN or infinite)")
    return waveform, rate


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
