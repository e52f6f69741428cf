"""What a corpus contains twice: recordings under several names, and speakers in training and in another split.

Scores of such a corpus are too high, or its labels contradict each other.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from abhinaya.data.schemas import KEY, SPLITS
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError

WITHIN = ("recordings with several names", "recordings with several emotions")
MAX_LISTED = 3  # examples of each kind
FIX = "correct the corpus, or set `corpus.overlaps: report`"


def find(manifest: pd.DataFrame, workers: int = 1, read: bool = True) -> list[dict[str, Any]]:
    """What the splits of `manifest` contain twice.

    Args:
        manifest: `FileName`, `path`, `split`, `EmoClass` and, if known, `SpkrID`.
        workers: threads that read files.
        read: also compare the files themselves (links, copies), not only their paths.

    Returns:
        for each kind that occurs `{"what", "count", "examples"}`.
    """
    rows = manifest[manifest["split"].notna()].reset_index(drop=True)
    recording = pd.Series(_recordings(rows["path"].tolist(), workers, read), index=rows.index, dtype=object)
    several = rows.assign(recording=recording)[recording.duplicated(keep=False)]
    groups = [group for _, group in several.groupby("recording", sort=False)]
    found = [
        _entry("recordings with several names", [_names(group) for group in groups]),
        _entry("recordings in several splits", [_names(group) for group in groups if group["split"].nunique() > 1]),
        _entry(
            "recordings with several emotions", [_names(group) for group in groups if group["EmoClass"].nunique() > 1]
        ),
    ]
    if "SpkrID" in rows:
        speakers = {split: set(rows.loc[rows["split"] == split, "SpkrID"].dropna()) for split in SPLITS}
        for split in SPLITS[1:]:
            both = sorted(speakers["train"] & speakers[split])
            found.append(_entry(f"speakers in train and {split}", both))
    return [entry for entry in found if entry["count"]]


def sentence(entry: dict[str, Any]) -> str:
    """An entry of `find` for a message: ``2 recordings in several splits (a.wav = b.wav, …)``."""
    more = ", …" if entry["count"] > len(entry["examples"]) else ""
    what = entry["what"] if entry["count"] > 1 else entry["what"].replace("s ", " ", 1)
    return f"{entry['count']} {what} ({', '.join(map(printable, entry['examples']))}{more})"


def sentences(found: Sequence[dict[str, Any]]) -> list[str]:
    """The entries of `find` within a split; those over splits are in `leaks`."""
    return [sentence(entry) for entry in found if entry["what"] in WITHIN]


def check(found: Sequence[dict[str, Any]]) -> None:
    """Raise a `UserError` if anything was found."""
    if found:
        raise UserError(f"corpus: {'; '.join(map(sentence, found))}; {FIX}")


def _entry(what: str, items: Sequence[str]) -> dict[str, Any]:
    return {"what": what, "count": len(items), "examples": list(items[:MAX_LISTED])}


def _names(group: pd.DataFrame) -> str:
    return " = ".join(group[KEY])


def _recordings(paths: Sequence[str], workers: int, read: bool) -> list[object]:
    """A value for each path that is the same for the same recording."""
    if not read:
        return [os.path.normpath(path) for path in paths]
    with ThreadPoolExecutor(workers) as pool:
        status = list(pool.map(os.stat, paths))
        sizes = Counter(each.st_size for each in status)  # only files of the same size can be copies
        return list(pool.map(lambda path, each: _digest(path) if sizes[each.st_size] > 1 else path, paths, status))


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
