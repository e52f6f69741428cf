"""Is the corpus there, and all of it? Label files are read, audio is only looked for."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from abhinaya.config.corpus import AnyCorpus, MspPodcast, Synthetic
from abhinaya.data import corpora, schemas
from abhinaya.data.corpora import espeak, msp_podcast
from abhinaya.data.schemas import KEY, check_unique
from abhinaya.runtime.errors import UserError


@dataclass(frozen=True)
class Survey:
    """What is known of a corpus before its audio is decoded."""

    told: str  # in a line
    total: int  # utterances
    used: int  # those in a split
    durations: pd.Series | None = None  # of those in a split, seconds; None before the corpus is prepared


def survey(settings: AnyCorpus, seed: int, manifest: Path | None) -> Survey:
    """Read the labels and look for the audio that they name.

    Args:
        manifest: of a corpus that is prepared already, whose labels are read no more.

    Raises:
        UserError: what `corpus.read` refuses; more audio is absent than `corpus.max_rejected` allows; a split would be
            empty, or a class absent from it.
    """
    if manifest is not None:
        rows = schemas.read_manifest(manifest)
        used = rows[rows["split"].notna()]
        _check(used, 0.0, "prepare the corpus again")
        return Survey(f"prepared, {len(rows)} utterances, {len(used)} used", len(rows), len(used), used["duration"])
    if isinstance(settings, Synthetic):
        espeak.check()
        count = sum(settings.train[letter] for letter in settings.classes) + len(settings.classes) * (
            settings.validation_per_class + settings.test_per_class
        )
        return Survey(f"synthetic, {count} utterances to be spoken", count, count)
    rows = _listed(settings, seed)
    check_unique(rows, "corpus")
    present = _check(rows, settings.max_rejected, "fetch them, or raise corpus.max_rejected")
    used = int(corpora.splits(settings, seed, rows, present).notna().sum())
    absent = len(rows) - len(present)
    told = f"{len(rows)} utterances in the labels, {len(present)} audio files there"
    return Survey(f"{told}{f', {absent} absent' if absent else ''}, {used} used", len(present), used)


def _listed(settings: AnyCorpus, seed: int) -> pd.DataFrame:
    if isinstance(settings, MspPodcast):
        return msp_podcast.read(settings, texts=False)  # a hundred thousand small files, which tell nothing here
    return corpora.read(settings, seed, Path())


def _check(rows: pd.DataFrame, allowed: float, fix: str) -> pd.DataFrame:
    """The rows whose audio is there."""
    stray = rows.reindex(columns=["problem"])["problem"].notna()
    absent = stray | ~_present(rows["path"])
    if absent.sum() > allowed * len(rows):
        first = rows[absent].iloc[0]
        raise UserError(f"{int(absent.sum())} of {len(rows)} audio files are absent, {first['path']} for one; {fix}")
    return rows[~absent].sort_values(KEY, ignore_index=True)


def _present(paths: pd.Series) -> pd.Series:
    """Which of these files are there; folders are listed, for a network drive answers each question slowly."""
    parts = paths.map(os.path.split)
    names = {folder: _names(folder or ".") for folder in {folder for folder, _ in parts}}
    return parts.map(lambda part: part[1] in names[part[0]]).astype(bool)


def _names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
