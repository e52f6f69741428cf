"""Sound inside other files: a part of a longer recording, or the sound of a video. It is extracted once, as WAV."""

from pathlib import Path

import numpy as np
import soundfile

from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import atomic

CONTAINERS = (".aac", ".avi", ".m4a", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wma", ".wmv")
TOLERANCE = 0.05  # seconds that an end may be after the end of the file, since tables round


def is_container(path: str | Path) -> bool:
    """Whether libsndfile cannot read `path`, judged by its name: a video, or audio as phones record it."""
    return Path(path).suffix.lower() in CONTAINERS


def extract(source: Path, target: Path, start: float | None = None, end: float | None = None) -> None:
    """Write the sound of `source` from `start` to `end` (seconds; None: its beginning, its end) to `target`.

    A part of an audio file keeps its sampling rate and channels; 16-bit samples stay as they are, others become float.
    The channels of a container are averaged.

    Raises:
        UserError: the file is missing or cannot be decoded, or it does not contain this part.
    """
    if not source.is_file():
        raise UserError(f"{source}: audio file not found")
    samples, rate, subtype = _of_container(source) if is_container(source) else _of_audio(source)
    part = samples[_bounds(source, start, end, len(samples), rate)]
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as temporary:
        soundfile.write(temporary, part, rate, subtype=subtype, format="WAV")


def _bounds(source: Path, start: float | None, end: float | None, frames: int, rate: int) -> slice:
    first, last = 0.0 if start is None else start, frames / rate if end is None else end
    if not 0 <= first < last:
        raise UserError(f"{source}: start {first:g} s and end {last:g} s: not 0 <= start < end")
    if last > frames / rate + TOLERANCE:
        raise UserError(f"{source}: end {last:g} s is after the end of the file, {frames / rate:g} s")
    return slice(round(first * rate), round(last * rate))


def _of_audio(source: Path) -> tuple[np.ndarray, int, str]:
    try:
        with soundfile.SoundFile(source) as file:
            exact = file.subtype == "PCM_16"
            samples = file.read(dtype="int16" if exact else "float32", always_2d=True)
            return samples, file.samplerate, "PCM_16" if exact else "FLOAT"
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise UserError(f"{source}: cannot be decoded as audio ({' '.join(str(error).split())})") from None


def _of_container(source: Path) -> tuple[np.ndarray, int, str]:
    """The first audio stream, by FFmpeg's libraries in the package PyAV."""
    try:
        import av  # not a dependency of the library: whoever has only audio files needs none
    except ImportError:
        raise UserError(f"{source}: a video or AAC file needs the package av; install it") from None
    try:
        with av.open(str(source)) as container:
            if not container.streams.audio:
                raise UserError(f"{source}: has no sound")
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            frames = [
                part.to_ndarray().mean(axis=0)  # FFmpeg's own mix would be louder than one channel
                for frame in (*container.decode(stream), None)  # None: the rest in the resampler
                for part in planar.resample(frame)
            ]
            return np.concatenate([np.empty(0, np.float32), *frames])[:, None], stream.rate, "FLOAT"
    except av.FFmpegError as error:
        raise UserError(f"{source}: cannot be decoded ({error.strerror or error})") from None
