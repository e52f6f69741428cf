"""Recordings that are in no corpus: found, checked, and long ones cut where they are quiet."""

import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from tqdm import tqdm

from abhinaya.config.corpus import Csv
from abhinaya.data import audio
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, MANIFEST
from abhinaya.runtime.errors import UserError

# In a folder these are taken for audio; of the last line libsndfile reads none, so that each is told to be unreadable.
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
    *(".rf64", ".sph", ".voc"),
    *(".m4a", ".mp4", ".aac", ".wma", ".amr", ".webm", ".mka"),
)
LISTS = (".csv", ".txt")
LEAST = 1.0  # seconds: the shortest limit of a segment
SHORTEST = Csv.model_fields["min_seconds"].default  # seconds of a recording, as in a corpus
BLOCK = audio.RATE // 100  # samples; borders stand between blocks of 10 ms
PAUSE = 10  # blocks around a border that are to be quiet together
REACH = 0.1  # share of the limit by which a border may leave its even place, either way
REJECTED = ("path", "reason")


def find(named: Sequence[Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """The audio files that the user named, each once, in that order; and what cannot be entered, and why.

    Of a folder all audio files below it, by name, but hidden ones; of a list (`.csv` with a column `path` or
    `FileName`, `.txt` with a path a line) those in it, relative ones against the list's folder. Any other file is
    taken for audio.

    Raises:
        UserError: a list cannot be read, or holds nothing.
    """
    found: list[Path] = []
    rejected: list[tuple[str, str]] = []
    for path in named:
        if os.path.isdir(path):
            inside = list(_below(path, rejected))
            if not inside:
                rejected.append((shown(path), "no audio file in this folder"))
            found += inside
        elif path.suffix.lower() in LISTS:
            found += _listed(path)
        else:
            found.append(path)
    once: dict[tuple[str, str], Path] = {}
    for path in found:
        once.setdefault((os.path.realpath(path.parent), path.name), path)
    return list(once.values()), rejected


def shown(path: str | Path) -> str:
    """A path as text that can be written down: bytes that are not UTF-8 become `\\x…`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def cut(paths: Sequence[Path], limit: float, folder: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The segments of recordings, as rows of a manifest, and which recordings are of no use, and why.

    A recording of at most `limit` seconds is a segment of its own, its file as it is. Segments of a longer one are
    written to `folder`, 16 kHz mono.

    Returns:
        the columns of `tables.MANIFEST` (`FileName` is a number, `split` is `test`), and `recording` (path as the user
        gave it), `start` and `end` (seconds); in the order of `paths`.

    Raises:
        UserError: no room in `folder`.
    """
    rows: list[dict] = []
    rejected: list[tuple[str, str]] = []
    for path in tqdm(paths, desc="reading", unit="file", mininterval=5):
        place = str(path.absolute())
        try:
            place.encode()  # tables hold UTF-8
            features = audio.decode(place, longer_than=limit)
        except UnicodeEncodeError:
            rejected.append((shown(path), "its name is not UTF-8; rename it"))
        except UserError as error:
            rejected.append((shown(path), str(error).removeprefix(f"{place}: ")))
        else:
            seconds, waveform = features.seconds, features.waveform
            if seconds < SHORTEST:
                rejected.append((shown(path), f"{seconds:.3f} s long, below {SHORTEST:g} s"))
                continue
            whole = {"recording": str(path), "path": place, "start": 0.0, "end": seconds, "duration": seconds}
            rows += [whole] if waveform is None else _pieces(whole, waveform, limit, folder, first=len(rows))
    table = pd.DataFrame(rows, columns=[*MANIFEST.names, "recording", "start", "end"])
    digits = len(str(len(rows)))
    names = [f"{number:0{digits}}" for number in range(len(rows))]  # sorted as they stand, whatever the files' names
    return table.assign(**{KEY: names, "split": "test"}), rejected


def borders(waveform: np.ndarray, limit: float) -> list[int]:
    """The samples at which the segments of a recording begin and end: 0, …, its length.

    Segments of at most `limit` seconds are nearly equal: each border is the quietest place (least power over 0.1 s)
    no further than a tenth of `limit` from where it would make them equal; of equally quiet ones the nearest. So
    segments of a longer recording are at most `limit` and at least a third of it.

    Args:
        waveform: (samples,) at 16 kHz.
    """
    most = limit * audio.RATE  # samples
    if len(waveform) <= most:
        return [0, len(waveform)]
    count = math.ceil(len(waveform) / ((1 - 2 * REACH) * most))  # so that each border may move either way
    blocks = waveform[: len(waveform) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64)  # no copy of an hour
    around = np.lib.stride_tricks.sliding_window_view(power, PAUSE).mean(axis=1)  # not a running sum: silence stays 0
    found = [0]
    for number in range(1, count):
        even, reach = number * len(waveform) / count / BLOCK, REACH * most / BLOCK  # blocks
        places = np.arange(math.ceil(even - reach), math.floor(even + reach) + 1)
        order = np.lexsort((abs(places - even), around[places - PAUSE // 2]))
        found.append(int(places[order[0]]) * BLOCK)
    return [*found, len(waveform)]


def _pieces(whole: dict, waveform: np.ndarray, limit: float, folder: Path, first: int) -> list[dict]:
    """The rows of a recording's segments, written to `folder`; the number of the first tells them from others there."""
    samples = borders(waveform, limit)
    rows = []
    for number, (start, end) in enumerate(pairwise(samples), start=first):
        target = folder / f"{number}.wav"
        try:
            soundfile.write(target, waveform[start:end], audio.RATE, subtype="FLOAT")
        except (OSError, soundfile.SoundFileError) as error:
            raise UserError(
                f"{folder}: cannot hold the segments ({' '.join(str(error).split())}); set TMPDIR to a folder with room"
            ) from None
        times = {"start": start / audio.RATE, "end": end / audio.RATE, "duration": (end - start) / audio.RATE}
        rows.append(whole | {"path": str(target)} | times)
    rows[-1]["end"] = whole["end"]  # resampling rounds
    return rows


def _below(folder: Path, rejected: list[tuple[str, str]]) -> Iterator[Path]:
    """The audio files in `folder` and below; a folder that several links lead to, or back to, is entered once."""

    def closed(error: OSError) -> None:
        rejected.append((shown(error.filename), f"cannot be entered ({error.strerror})"))

    entered: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        status = os.stat(place)
        known = (status.st_dev, status.st_ino) in entered
        entered.add((status.st_dev, status.st_ino))
        folders[:] = [] if known else sorted(name for name in folders if not name.startswith("."))
        for name in [] if known else sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(place, name)


def _listed(source: Path) -> list[Path]:
    if source.suffix.lower() == ".csv":
        table = fields.read_table(source, ())
        column = next((name for name in ("path", KEY) if name in table), None)
        if column is None:
            raise UserError(f"{source}: no column path or {KEY}; it has {', '.join(table.columns)}")
        names = table[column].dropna().tolist()
    else:
        try:
            names = [line for line in source.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        except FileNotFoundError:
            raise UserError(f"{source}: no such file; make it or correct the path") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{source}: not a readable list ({' '.join(str(error).split())}); mend it") from None
    if not names:
        raise UserError(f"{source}: lists no file; add some")
    return [source.parent / os.path.expanduser(name) for name in names]
