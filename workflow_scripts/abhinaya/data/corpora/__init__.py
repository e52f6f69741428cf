"""Preparing a corpus: read its labels, check its audio, assign the splits, build the manifest."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from abhinaya.config.corpus import AnyCorpus, Csv, MspPodcast, Ravdess, Synthetic
from abhinaya.data import audio
from abhinaya.data.corpora import csv_table, fields, msp_podcast, overlaps, ravdess, validation_split
from abhinaya.data.corpora.summary import summarise
from abhinaya.data.schemas import KEY, MANIFEST, SPLITS, check_unique
from abhinaya.labels import EMOTIONS
from abhinaya.runtime.errors import UserError

ASSIGNED_BY = {
    "synthetic": "corpus.train",
    "msp_podcast": "corpus.partitions",
    "ravdess": "the corpus.*_actors",
    "csv": "the table's column `split`",
}


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
    summary: dict[str, Any]  # `kind`, the values of summary.summarise, and `overlaps`: those of overlaps.find


def prepare(corpus: AnyCorpus, seed: int, folder: Path, workers: int = 1) -> Prepared:
    """Read `corpus`, decode all audio once, and assign train, validation and test.

    Args:
        corpus: its section of the configuration.
        seed: of the validation sample (and of a synthetic corpus).
        folder: for the audio of a synthetic corpus.
        workers: decoding threads.

    Raises:
        TooManyRejected: more utterances were rejected than `corpus.max_rejected` allows.
        UserError: the corpus is invalid; a `FileName` is duplicated; a split is empty; a class of `corpus.classes` is
            missing from training; the validation set cannot be sampled; something is contained twice and
            `corpus.overlaps` is `error`.
    """
    rows = read(corpus, seed, folder)
    check_unique(rows, "corpus")
    checked = _check_audio(rows, corpus.min_seconds, workers)
    rejected = checked[checked["problem"].notna()].sort_values(KEY).rename(columns={"problem": "reason"})
    rejected = rejected[[KEY, "path", "reason", "role"]]
    if len(rejected) > corpus.max_rejected * len(rows):
        first = rejected.iloc[0]
        raise TooManyRejected(
            f"{len(rejected)} of {len(rows)} utterances were rejected, e.g. {first['path']} ({first['reason']}); "
            f"fix them or increase corpus.max_rejected (now {corpus.max_rejected:g})",
            rejected,
        )
    valid = checked[checked["problem"].isna()].sort_values(KEY, ignore_index=True)
    valid["split"] = splits(corpus, seed, rows, valid)
    manifest = valid.reindex(columns=MANIFEST.names)
    texts = valid.reindex(columns=[KEY, "text"]).dropna().reset_index(drop=True)
    repeated = overlaps.find(manifest, workers)
    if corpus.overlaps == "error":
        overlaps.check(repeated)
    summary = {"kind": corpus.kind, **summarise(manifest, len(rejected)), "overlaps": repeated}
    return Prepared(manifest, rejected, texts, summary)


def read(corpus: AnyCorpus, seed: int, folder: Path) -> pd.DataFrame:
    """Read the rows of a corpus with the reader of its kind.

    Returns:
        `FileName`, `path`, `role` (`train`, `development`, `test` or null), `EmoClass` and, where known, `Split_Set`,
        `SpkrID`, `Gender`, `EmoAct`, `EmoVal`, `EmoDom`, `votes_A` … `votes_U`, `text`, `problem` (why a row
        is rejected before its audio is read).
    """
    match corpus:
        case MspPodcast():
            return msp_podcast.read(corpus)
        case Ravdess():
            return ravdess.read(corpus)
        case Csv():
            return csv_table.read(corpus)
        case Synthetic():
            from abhinaya.data.corpora import synthetic  # imports the speech synthesiser

            return synthetic.read(corpus, seed, folder)


def _check_audio(rows: pd.DataFrame, min_seconds: float, workers: int) -> pd.DataFrame:
    """Decode every file without a `problem`; add the column `duration` (seconds), and `problem` where it is invalid."""
    problems = rows.reindex(columns=["problem"])["problem"].astype(object)
    paths = rows["path"][problems.isna()]
    probe = partial(_probe, min_seconds=min_seconds)
    probed = thread_map(probe, paths, max_workers=workers, desc="decoding", unit="file", mininterval=5)
    checked = pd.DataFrame(probed, index=paths.index, columns=["duration", "problem"])
    return rows.assign(
        duration=checked["duration"].astype(float),
        problem=fields.either(problems, checked["problem"].reindex(rows.index)),
    )


def _probe(path: str, min_seconds: float) -> tuple[float | None, str | None]:
    try:
        duration = audio.duration(path)
    except UserError as error:
        return None, str(error).removeprefix(f"{Path(path)}: ")
    if duration < min_seconds:
        return duration, f"{duration:.3f} s, shorter than corpus.min_seconds {min_seconds:g}"
    return duration, None


def splits(corpus: AnyCorpus, seed: int, rows: pd.DataFrame, valid: pd.DataFrame) -> pd.Series:
    """Assign `train`, `validation`, `test` or null to each row of `valid`, the `rows` with valid audio.

    Training and validation contain only the emotions of `corpus.classes`; the test split also unlabelled utterances.

    Raises:
        UserError: a split is empty; a class is missing from training; the validation set cannot be sampled.
    """
    known = valid["EmoClass"].isin(corpus.classes)
    training = valid[known & (valid["role"] == "train")]
    testing = valid[(known | valid["EmoClass"].isna()) & (valid["role"] == "test")]
    for letter in corpus.classes:
        if len(training) and letter not in set(training["EmoClass"]):
            raise UserError(
                f"corpus.classes: no training utterance is {letter} ({EMOTIONS[letter]}); add some, or remove "
                f"{letter} from corpus.classes"
            )
    if corpus.validation.files is not None:
        chosen = validation_split.listed(rows, corpus.classes, corpus.validation.files)
    else:
        chosen = validation_split.sample(valid, corpus.classes, corpus.validation.per_class, seed)
    assigned = pd.Series(index=valid.index, dtype=object)
    for split, names in zip(SPLITS, (training[KEY], chosen, testing[KEY]), strict=True):
        selected = valid[KEY].isin(names)
        if not selected.any():
            fix = f"assign utterances with readable audio to it by {ASSIGNED_BY[corpus.kind]}"
            raise UserError(f"corpus: the {split} split is empty; {fix}")
        assigned[selected] = split
    return assigned
