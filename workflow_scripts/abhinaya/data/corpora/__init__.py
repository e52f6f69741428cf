"""From a corpus as distributed to the manifest: read its labels, check its audio, assign the splits."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from abhinaya.config.corpus import AnyCorpus, Csv, MspPodcast, Ravdess, Synthetic
from abhinaya.data import audio
from abhinaya.data.corpora import csv_table, fields, msp_podcast, ravdess, validation_split
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
    """More audio was rejected than `corpus.max_rejected` allows; `rejected` lists it."""

    def __init__(self, message: str, rejected: pd.DataFrame) -> None:
        super().__init__(message)
        self.rejected = rejected


@dataclass(frozen=True)
class Prepared:
    """A corpus that is ready for use."""

    manifest: pd.DataFrame  # the columns of tables.MANIFEST, sorted by FileName
    rejected: pd.DataFrame  # FileName, path, reason, role
    references: pd.DataFrame  # FileName, text: the corpus's own transcripts, where it has them
    summary: dict[str, Any]  # the configuration's `kind`, and see summary.summarise


def prepare(corpus: AnyCorpus, seed: int, folder: Path, workers: int = 1) -> Prepared:
    """Read `corpus`, decode all its audio once, and assign train, validation and test.

    Args:
        corpus: its section of the configuration.
        seed: of the validation draw (and of a synthetic corpus).
        folder: where a synthetic corpus puts its audio.
        workers: threads that decode.

    Raises:
        TooManyRejected: as it says.
        UserError: what the corpus's reader refuses; a `FileName` stands twice; a split is empty; a class of
            `corpus.classes` is absent from training; the validation set cannot be drawn.
    """
    listed = read(corpus, seed, folder)
    check_unique(listed, "corpus")
    checked = _check_audio(listed, corpus.min_seconds, workers)
    rejected = checked[checked["problem"].notna()].sort_values(KEY)
    rejected = rejected[[KEY, "path", "problem", "role"]].rename(columns={"problem": "reason"})
    if len(rejected) > corpus.max_rejected * len(listed):
        first = rejected.iloc[0]
        raise TooManyRejected(
            f"{len(rejected)} of {len(listed)} utterances were rejected, e.g. {first['path']} ({first['reason']}); "
            f"mend them or raise corpus.max_rejected (now {corpus.max_rejected:g})",
            rejected,
        )
    sound = checked[checked["problem"].isna()].sort_values(KEY, ignore_index=True)
    sound["split"] = splits(corpus, seed, listed, sound)
    manifest = sound.reindex(columns=MANIFEST.names)
    texts = sound.reindex(columns=[KEY, "text"]).dropna().reset_index(drop=True)
    summary = {"kind": corpus.kind, **summarise(manifest, len(rejected))}
    return Prepared(manifest, rejected, texts, summary)


def read(corpus: AnyCorpus, seed: int, folder: Path) -> pd.DataFrame:
    """The rows of a corpus, by its kind.

    Returns:
        `FileName`, `path`, `role` (`train`, `development`, `test` or null), `EmoClass` and, where known, `Split_Set`,
        `SpkrID`, `Gender`, `EmoAct`, `EmoVal`, `EmoDom`, `votes_A` … `votes_U`, `text`, `problem` (why a row is to be
        rejected unheard).
    """
    match corpus:
        case MspPodcast():
            return msp_podcast.read(corpus)
        case Ravdess():
            return ravdess.read(corpus)
        case Csv():
            return csv_table.read(corpus)
        case Synthetic():
            from abhinaya.data.corpora import synthetic  # needs a speech synthesiser, which no other corpus does

            return synthetic.read(corpus, seed, folder)


def _check_audio(rows: pd.DataFrame, min_seconds: float, workers: int) -> pd.DataFrame:
    """Add `duration` (s) and complete `problem` by decoding every file that has none yet."""
    problems = rows.reindex(columns=["problem"])["problem"].astype(object)
    paths = rows["path"][problems.isna()]
    probed = thread_map(
        lambda path: _probe(path, min_seconds),
        paths,
        max_workers=workers,
        desc="decoding",
        unit="file",
        mininterval=0.1 if sys.stderr.isatty() else 30,  # a log file needs no animation
    )
    found = pd.DataFrame(probed, index=paths.index, columns=["duration", "problem"])
    return rows.assign(
        duration=found["duration"].astype(float), problem=fields.either(problems, found["problem"].reindex(rows.index))
    )


def _probe(path: str, min_seconds: float) -> tuple[float | None, str | None]:
    try:
        duration, _, _ = audio.probe(path)
    except UserError as error:
        return None, str(error).removeprefix(f"{Path(path)}: ")
    if duration < min_seconds:
        return duration, f"{duration:.3f} s long, below corpus.min_seconds {min_seconds:g}"
    return duration, None


def splits(corpus: AnyCorpus, seed: int, listed: pd.DataFrame, sound: pd.DataFrame) -> pd.Series:
    """`train`, `validation`, `test` or null for each row of `sound`, those of the `listed` rows whose audio is good.

    Trained on and validated with are only the emotions of `corpus.classes`; tested also where the label is hidden.

    Raises:
        UserError: a split is empty; a class is absent from training; the validation set cannot be drawn.
    """
    known = sound["EmoClass"].isin(corpus.classes)
    training = sound[known & (sound["role"] == "train")]
    testing = sound[(known | sound["EmoClass"].isna()) & (sound["role"] == "test")]
    _check_training(corpus, training)
    if corpus.validation.files is not None:
        chosen = validation_split.listed(listed, corpus.classes, corpus.validation.files)
    else:
        chosen = validation_split.draw(sound, corpus.classes, corpus.validation.per_class, seed)
    assigned = pd.Series(index=sound.index, dtype=object)
    for split, names in zip(SPLITS, (training[KEY], chosen, testing[KEY]), strict=True):
        members = sound[KEY].isin(names)
        if not members.any():
            raise UserError(
                f"corpus: the {split} split is empty; {ASSIGNED_BY[corpus.kind]} decides what goes there: give it "
                "some utterances with readable audio"
            )
        assigned[members] = split
    return assigned


def _check_training(corpus: AnyCorpus, training: pd.DataFrame) -> None:
    for letter in corpus.classes:
        if len(training) and not (training["EmoClass"] == letter).any():
            raise UserError(
                f"corpus.classes: no training utterance is {letter} ({EMOTIONS[letter]}); add some, or take "
                f"{letter} out of corpus.classes"
            )
