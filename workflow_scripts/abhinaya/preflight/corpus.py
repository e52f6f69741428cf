"""Completeness of the corpus: label files are read, audio files only listed."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from abhinaya.config.corpus import Corpus
from abhinaya.data import corpora, schemas
from abhinaya.data.corpora import espeak, overlaps
from abhinaya.data.corpora.kinds.synthetic import Synthetic
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError


@dataclass(frozen=True)
class Survey:
    """A summary of a corpus whose audio is not decoded."""

    message: str
    used: int  # number of utterances in a split
    durations: pd.Series | None = None  # of these, in seconds; None before the corpus is prepared


def survey(settings: Corpus, seed: int, manifest: Path | None) -> Survey:
    """Read the labels and check that the audio files exist.

    Args:
        manifest: of a prepared corpus, which is used instead of the label files.

    Raises:
        UserError: as `Corpus.rows`; more audio is missing than `corpus.max_rejected` allows; a split would be empty or
            lack a class.
    """
    if manifest is not None:
        rows = schemas.read_manifest(manifest)
        used = rows[rows["split"].notna()]
        _check(used, 0.0, "prepare the corpus again")
        return Survey(f"prepared, {len(rows)} utterances, {len(used)} used", len(used), used["duration"])
    if isinstance(settings, Synthetic):
        espeak.check()
        count = sum(settings.train[letter] for letter in settings.classes) + len(settings.classes) * (
            settings.validation_per_class + settings.test_per_class
        )
        return Survey(f"synthetic, {count} utterances to generate", count)
    rows, _ = corpora.read(settings, seed, Path(), texts=False)  # many small files, not needed here
    rows = corpora.with_folds(rows, settings.split, seed)
    present = _check(rows, settings.max_rejected, "add them, or increase corpus.max_rejected")
    split = corpora.splits(settings, seed, rows, present)
    used = int(split.notna().sum())
    found = overlaps.find(present.assign(split=split), read=False)
    if settings.overlaps == "error":
        overlaps.check(found)
    missing = f", {len(rows) - len(present)} missing" if len(present) < len(rows) else ""
    text = f"{len(rows)} utterances in the labels, {len(present)} audio files found{missing}, {used} used"
    text = "; ".join([text, *map(overlaps.sentence, found)])
    return Survey(text, used)


def _check(rows: pd.DataFrame, allowed: float, fix: str) -> pd.DataFrame:
    """The rows whose audio file exists."""
    invalid = rows.reindex(columns=["problem"])["problem"].notna()
    missing = invalid | ~_present(rows["path"])
    if missing.sum() > allowed * len(rows):
        first = rows[missing].iloc[0]
        raise UserError(f"{int(missing.sum())} of {len(rows)} audio files are missing, e.g. {first['path']}; {fix}")
    return rows[~missing].sort_values(KEY, ignore_index=True)


def _present(paths: pd.Series) -> pd.Series:
    """Which of these files exist; lists folders, since single look-ups are slow on network drives."""
    parts = paths.map(os.path.split)
    names = {folder: _names(folder or ".") for folder in {folder for folder, _ in parts}}
    return parts.map(lambda part: part[1] in names[part[0]]).astype(bool)


def _names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
