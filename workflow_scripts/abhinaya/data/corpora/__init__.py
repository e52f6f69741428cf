"""Preparing a corpus: read its labels, check its audio, assign the splits, build the manifest."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.contrib.concurrent import thread_map

from abhinaya.config.corpus import Corpus, Split
from abhinaya.data import audio, segments
from abhinaya.data.corpora import fields, folds, leaks, overlaps, validation_split
from abhinaya.data.corpora.summary import summarise
from abhinaya.data.schemas import DEVELOPMENT, KEY, MANIFEST, SPLITS, check_unique
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.runtime.errors import UserError


class TooManyRejected(UserError):
    """More utterances were rejected than `corpus.max_rejected` allows; `rejected` lists them."""

    def __init__(self, message: str, rejected: pd.DataFrame) -> None:
        super().__init__(message)
        self.rejected = rejected


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus."""

    manifest: pd.DataFrame  # the columns of schemas.MANIFEST, sorted by FileName
    rejected: pd.DataFrame  # FileName, path, reason, role
    references: pd.DataFrame  # FileName, text: the corpus's own transcripts, if any
    summary: dict[str, Any]  # `kind`, the values of summary.summarise, `leaks`, `overlaps`, `left_out`
    other_folds: dict[int, pd.DataFrame]  # the manifest of each other fold, with its splits


def prepare(corpus: Corpus, seed: int, folder: Path, workers: int = 1, with_development: bool = False) -> Prepared:
    """Read `corpus`, decode all audio once, and assign train, validation and test.

    Args:
        corpus: its section of the configuration.
        seed: of the validation sample (and of a synthetic corpus).
        folder: for audio that is generated, or extracted from longer files and videos.
        workers: decoding threads.
        with_development: assign the other labelled development utterances to the split `development`, which is
            predicted, but not trained on, selected by or scored.

    Raises:
        TooManyRejected: more utterances were rejected than `corpus.max_rejected` allows.
        UserError: the corpus is invalid; a `FileName` is duplicated; a split is empty; a class of `corpus.classes` is
            missing from training; the validation set cannot be sampled; something is contained twice and
            `corpus.overlaps` is `error`.
    """
    rows, left_out = read(corpus, seed, folder)
    rows = with_folds(rows, corpus.split, seed)
    checked = _check_audio(_located(rows, folder), corpus.min_seconds, workers)
    rejected = _rejected(checked, corpus.max_rejected)
    valid = checked[checked["problem"].isna()].sort_values(KEY, ignore_index=True)
    manifest = _manifest(corpus, seed, rows, valid, with_development)
    others = {}
    for fold in range(1, (corpus.split.number or 0) + 1):
        if fold != corpus.split.fold:
            of_fold = with_folds(rows, corpus.split, seed, fold)
            roles = of_fold.set_index(KEY)["role"]
            valid_of_fold = valid.assign(role=valid[KEY].map(roles))
            others[fold] = _manifest(corpus, seed, of_fold, valid_of_fold, with_development)
    texts = valid.reindex(columns=[KEY, "text"]).dropna().reset_index(drop=True)
    repeated = overlaps.find(manifest, workers)
    if corpus.overlaps == "error":
        overlaps.check(repeated)
    summary = {"kind": corpus.kind, **summarise(manifest, len(rejected)), "leaks": leaks.find(manifest)}
    summary["overlaps"] = repeated
    if left_out:
        summary["left_out"] = left_out
    return Prepared(manifest, rejected, texts, summary, others)


def with_folds(rows: pd.DataFrame, split: Split, seed: int, fold: int | None = None) -> pd.DataFrame:
    """The rows with their `role` when `fold` (default: the one of `split`) is the test fold; as given without folds.

    Raises:
        UserError: as `folds.assign`.
    """
    if split.number is None:
        return rows
    fold_of = folds.assign(rows, split, seed)
    return rows.assign(role=folds.roles(rows, fold_of, split, fold or split.fold, seed))


def _rejected(checked: pd.DataFrame, allowed: float) -> pd.DataFrame:
    """The rows with a problem, unless they are more than the share `allowed` of all."""
    rejected = checked[checked["problem"].notna()].sort_values(KEY).rename(columns={"problem": "reason"})
    sources = rejected["source"].map(lambda source: source[0], na_action="ignore")
    rejected = rejected.assign(path=fields.either(sources, rejected["path"]))[[KEY, "path", "reason", "role"]]
    if len(rejected) > allowed * len(checked):
        first = rejected.iloc[0]
        raise TooManyRejected(
            f"{len(rejected)} of {len(checked)} utterances were rejected, e.g. {first['path']} ({first['reason']}); "
            f"fix them or increase corpus.max_rejected (now {allowed:g})",
            rejected,
        )
    return rejected


def _manifest(
    corpus: Corpus, seed: int, rows: pd.DataFrame, valid: pd.DataFrame, with_development: bool
) -> pd.DataFrame:
    split = splits(corpus, seed, rows, valid)
    if with_development:
        known = valid["EmoClass"].isin(corpus.classes or _occurring(valid))
        split = split.mask(split.isna() & (valid["role"] == "development") & known, DEVELOPMENT)
    return valid.assign(split=split).reindex(columns=MANIFEST.names)


def read(corpus: Corpus, seed: int, folder: Path, texts: bool = True) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read the labels of a corpus.

    Returns:
        the rows of `Corpus.rows` without those that are left out, and how many those are, by the corpus's own word.

    Raises:
        UserError: as `Corpus.rows`, or a `FileName` is duplicated.
    """
    rows = corpus.rows(seed, folder, texts)
    check_unique(rows, "corpus")
    words = rows.reindex(columns=["left_out"])["left_out"]
    return rows[words.isna()].reset_index(drop=True), words.value_counts().sort_index().to_dict()


def _located(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add the column `source` (path, start, end) for sound inside other files, which is extracted to `folder`."""
    if "start" not in rows:
        rows = rows.assign(start=np.nan)
    if "end" not in rows:
        rows = rows.assign(end=np.nan)
    inside = rows["start"].notna() | rows["end"].notna() | rows["path"].map(segments.is_container)
    sources = list(zip(rows["path"], rows["start"], rows["end"], strict=True))
    names = [f"{hashlib.sha256(repr(source).encode()).hexdigest()[:20]}.wav" for source in sources]
    paths = pd.Series([str(folder / name) for name in names], index=rows.index, dtype=object)
    return rows.assign(
        source=pd.Series(sources, index=rows.index, dtype=object).where(inside), path=rows["path"].where(~inside, paths)
    )


def _check_audio(rows: pd.DataFrame, min_seconds: float, workers: int) -> pd.DataFrame:
    """Decode every file without a `problem`, after extracting it from its `source` if it has one.

    Adds the column `duration` (seconds), and `problem` where a file is invalid.
    """
    problems = rows.reindex(columns=["problem"])["problem"].astype(object)
    valid = rows.loc[problems.isna(), ["path", "source"]]
    probe = partial(_probe, min_seconds=min_seconds)
    probed = thread_map(
        probe, valid["path"], valid["source"], max_workers=workers, desc="decoding", unit="file", mininterval=5
    )
    checked = pd.DataFrame(probed, index=valid.index, columns=["duration", "problem"])
    return rows.assign(
        duration=checked["duration"].astype(float),
        problem=fields.either(problems, checked["problem"].reindex(rows.index)),
    )


def _probe(path: str, source: tuple[str, float, float] | float, min_seconds: float) -> tuple[float | None, str | None]:
    original = path
    try:
        if isinstance(source, tuple):
            original, *bounds = source
            segments.extract(Path(original), Path(path), *(None if np.isnan(bound) else bound for bound in bounds))
        duration = audio.duration(path)
    except UserError as error:
        return None, str(error).removeprefix(f"{Path(original)}: ")
    if duration < min_seconds:
        return duration, f"{duration:.3f} s, shorter than corpus.min_seconds {min_seconds:g}"
    return duration, None


def splits(corpus: Corpus, seed: int, rows: pd.DataFrame, valid: pd.DataFrame) -> pd.Series:
    """Assign `train`, `validation`, `test` or null to each row of `valid`, the `rows` with valid audio.

    Training and validation contain only the emotions of `corpus.classes` (null: those in training); the test split also
    unlabelled utterances.

    Raises:
        UserError: a split is empty; a class is missing from training; the validation set cannot be sampled.
    """
    classes = corpus.classes or _occurring(valid)
    known = valid["EmoClass"].isin(classes)
    training = valid[known & (valid["role"] == "train")]
    testing = valid[(known | valid["EmoClass"].isna()) & (valid["role"] == "test")]
    for letter in classes:
        if len(training) and letter not in set(training["EmoClass"]):
            raise UserError(
                f"corpus.classes: no training utterance is {letter} ({EMOTIONS[letter]}); add some, or remove "
                f"{letter} from corpus.classes"
            )
    per_class = "all" if corpus.split.number else corpus.validation.per_class
    if corpus.validation.files is not None:
        chosen = validation_split.listed(rows, classes, corpus.validation.files)
    else:
        chosen = validation_split.sample(valid, classes, per_class, seed)
    assigned = pd.Series(index=valid.index, dtype=object)
    for split, names in zip(SPLITS, (training[KEY], chosen, testing[KEY]), strict=True):
        selected = valid[KEY].isin(names)
        if not selected.any():
            key = "corpus.split" if corpus.split.number else corpus.assigned_by
            fix = f"assign utterances with readable audio to it by {key}"
            raise UserError(f"corpus: the {split} split is empty; {fix}")
        assigned[selected] = split
    return assigned


def _occurring(rows: pd.DataFrame) -> list[str]:
    """The classes that occur in the training utterances."""
    return [letter for letter in CLASSES if letter in set(rows.loc[rows["role"] == "train", "EmoClass"])]
