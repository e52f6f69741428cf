"""New recordings: finding and decoding files, and cutting long ones in pauses."""

import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from tqdm import tqdm

from abhinaya.config.corpus import Corpus
from abhinaya.data import audio
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, MANIFEST
from abhinaya.runtime.errors import UserError

# Audio files in folders. Formats of the last line are not supported by libsndfile and are reported as unreadable.
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
    *(".rf64", ".sph", ".voc"),
    *(".m4a", ".mp4", ".aac", ".wma", ".amr", ".webm", ".mka"),
)
LISTS = (".csv", ".txt")
MIN_SEGMENT = 1.0  # seconds: lower bound of the segment limit
MIN_SECONDS = Corpus.model_fields["min_seconds"].default  # seconds of a recording, as in a corpus
BLOCK = audio.RATE // 100  # samples; borders are between blocks of 10 ms
PAUSE = 10  # blocks around a border, over which the power is averaged
REACH = 0.1  # maximum shift of a border, as a fraction of the limit


def find(given: Sequence[Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """The audio files that `given` names, without duplicates, in order; and rejected folders with reasons.

    A folder stands for all non-hidden audio files below it, sorted by name. A list (`.csv` with a column `path` or
    `FileName`, `.txt` with a path per line) stands for its files, relative to the list's folder. Any other file is
    taken as audio.

    Raises:
        UserError: a list cannot be read or is empty.
    """
    files: list[Path] = []
    rejected: list[tuple[str, str]] = []
    for path in given:
        if os.path.isdir(path):
            below = list(_below(path, rejected))
            if not below:
                rejected.append((as_text(path), "no audio files in this folder"))
            files += below
        elif path.suffix.lower() in LISTS:
            files += _listed(path)
        else:
            files.append(path)
    unique: dict[tuple[str, str], Path] = {}
    for path in files:
        unique.setdefault((os.path.realpath(path.parent), path.name), path)
    return list(unique.values()), rejected


def as_text(path: str | Path) -> str:
    """A path as valid text: bytes that are not UTF-8 become `\\x…`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def cut(paths: Sequence[Path], limit: float, folder: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The segments of recordings as rows of a manifest, and unusable recordings with reasons.

    A recording of at most `limit` seconds is one segment, with its original file. Segments of a longer one are
    written to `folder`, 16 kHz mono.

    Returns:
        the columns of `schemas.MANIFEST` (`FileName` is a number, `split` is `test`), and `recording` (path as
        given), `start` and `end` (seconds); in the order of `paths`.

    Raises:
        UserError: `folder` cannot hold the segments.
    """
    rows: list[dict] = []
    rejected: list[tuple[str, str]] = []
    for path in tqdm(paths, desc="reading", unit="file", mininterval=5):
        place = str(path.absolute())
        try:
            place.encode()  # tables contain UTF-8
            seconds, waveform = audio.decode(place, longer_than=limit)
        except UnicodeEncodeError:
            rejected.append((as_text(path), "the file name is not UTF-8; rename the file"))
        except UserError as error:
            rejected.append((as_text(path), str(error).removeprefix(f"{place}: ")))
        else:
            if seconds < MIN_SECONDS:
                rejected.append((as_text(path), f"{seconds:.3f} s, shorter than {MIN_SECONDS:g} s"))
                continue
            whole = {"recording": str(path), "path": place, "start": 0.0, "end": seconds, "duration": seconds}
            rows += [whole] if waveform is None else _pieces(whole, waveform, limit, folder, first=len(rows))
    table = pd.DataFrame(rows, columns=[*MANIFEST.names, "recording", "start", "end"])
    digits = len(str(len(rows)))
    names = [f"{number:0{digits}}" for number in range(len(rows))]  # zero-padded, so they sort in order
    return table.assign(**{KEY: names, "split": "test"}), rejected


def borders(waveform: np.ndarray, limit: float) -> list[int]:
    """The samples where the segments of a recording begin and end: 0, …, its length.

    A recording of more than `limit` seconds is divided equally, then each border moves to the quietest position (lowest
    power over 0.1 s) within a tenth of `limit`; of equally quiet ones, to the nearest. So each segment is at most
    `limit` and at least a third of it.

    Args:
        waveform: (samples,) at 16 kHz.
    """
    max_samples = limit * audio.RATE  # samples
    if len(waveform) <= max_samples:
        return [0, len(waveform)]
    count = math.ceil(len(waveform) / ((1 - 2 * REACH) * max_samples))  # both borders of a segment may move outwards
    blocks = waveform[: len(waveform) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64)  # does not copy `blocks`
    around = np.lib.stride_tricks.sliding_window_view(power, PAUSE).mean(axis=1)  # unlike a running sum, exactly 0
    samples = [0]
    for number in range(1, count):
        even, reach = number * len(waveform) / count / BLOCK, REACH * max_samples / BLOCK  # blocks
        places = np.arange(math.ceil(even - reach), math.floor(even + reach) + 1)
        order = np.lexsort((abs(places - even), around[places - PAUSE // 2]))
        samples.append(int(places[order[0]]) * BLOCK)
    return [*samples, len(waveform)]


def _pieces(whole: dict, waveform: np.ndarray, limit: float, folder: Path, first: int) -> list[dict]:
    """The rows of a recording's segments, written to `folder` and numbered from `first`."""
    samples = borders(waveform, limit)
    rows = []
    for number, (start, end) in enumerate(pairwise(samples), start=first):
        target = folder / f"{number}.wav"
        try:
            soundfile.write(target, waveform[start:end], audio.RATE, subtype="FLOAT")
        except (OSError, soundfile.SoundFileError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: segments cannot be written ({reason}); set TMPDIR to another folder") from None
        times = {"start": start / audio.RATE, "end": end / audio.RATE, "duration": (end - start) / audio.RATE}
        rows.append(whole | {"path": str(target)} | times)
    rows[-1]["end"] = whole["end"]  # the exact duration; resampling rounds it
    return rows


def _below(folder: Path, rejected: list[tuple[str, str]]) -> Iterator[Path]:
    """The audio files in `folder` and below; a folder reached by several links is read once."""

    def reject(error: OSError) -> None:
        rejected.append((as_text(error.filename), f"cannot be read ({error.strerror})"))

    visited: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=reject, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()  # os.walk then skips them
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith("."))
        yield from (Path(place, name) for name in names)


def _listed(source: Path) -> list[Path]:
    """The files that the list `source` names, relative to its folder."""
    if source.suffix.lower() == ".csv":
        table = fields.read_table(source, ())
        column = next((name for name in ("path", KEY) if name in table), None)
        if column is None:
            raise UserError(f"{source}: column path or {KEY} is missing; it has {', '.join(table.columns)}")
        names = table[column].dropna().tolist()
    else:
        names = fields.read_lines(source, fix="give a text file with a path per line")
    if not names:
        raise UserError(f"{source}: contains no file names; add some")
    return [source.parent / os.path.expanduser(name) for name in names]
