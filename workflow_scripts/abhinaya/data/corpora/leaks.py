"""Speakers and recordings in two splits: scores on the test split are then too high for new speakers."""

import hashlib
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pandas as pd

from abhinaya.data.schemas import KEY, SPLITS


def find(manifest: pd.DataFrame) -> dict[str, dict[str, list]]:
    """Speakers in two splits, and files with the same bytes in two splits.

    Returns:
        `{"speakers": {"train, test": [SpkrID, …]}, "recordings": {"train, test": [[FileName, FileName], …]}}`, with
        the pairs of splits that share any.
    """
    used = manifest[manifest["split"].notna()]
    used = used.assign(digest=_digests(used["path"]))
    found: dict[str, dict[str, list]] = {"speakers": {}, "recordings": {}}
    for first, second in combinations(SPLITS, 2):
        one, other = used[used["split"] == first], used[used["split"] == second]
        if speakers := sorted({*one["SpkrID"].dropna()} & {*other["SpkrID"].dropna()}):
            found["speakers"][f"{first}, {second}"] = speakers
        if pairs := _same(one, other):
            found["recordings"][f"{first}, {second}"] = pairs
    return found


def sentences(leaks: dict[str, dict[str, list]]) -> list[str]:
    """The leaks as sentences."""
    lines = []
    for splits, speakers in leaks.get("speakers", {}).items():
        lines.append(f"{_count(speakers, 'speaker')} in two splits ({splits}): {_some(map(str, speakers))}.")
    for splits, pairs in leaks.get("recordings", {}).items():
        lines.append(f"{_count(pairs, 'recording')} in two splits ({splits}): {_some(' = '.join(p) for p in pairs)}.")
    return lines


def _same(one: pd.DataFrame, other: pd.DataFrame) -> list[list[str]]:
    names = other.dropna(subset="digest").groupby("digest")[KEY].apply(list).to_dict()
    known = one.dropna(subset="digest").sort_values(KEY)
    return [
        [name, same] for name, digest in zip(known[KEY], known["digest"], strict=True) for same in names.get(digest, [])
    ]


def _digests(paths: pd.Series) -> pd.Series:
    """SHA-256 of the files that have the same size as another one; null for the others."""
    sizes = paths.map(lambda path: Path(path).stat().st_size)
    return paths[sizes.duplicated(keep=False)].map(_digest).reindex(paths.index)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(entries: list, noun: str) -> str:
    return f"{len(entries):,} {noun}{'s' if len(entries) > 1 else ''}"


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
