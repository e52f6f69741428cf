"""The labelled utterances of each split with the predictions of all systems and ensembles."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, PROBABILITIES, read_manifest, read_transcripts
from abhinaya.evaluation import metrics, voting
from abhinaya.labels import CLASSES, INDEX
from abhinaya.runtime.errors import UserError

# For resampling speakers. Of 150 pairs of equally good systems with speaker effects, 51 % had p < 0.05 with two
# speakers, 18 % with four (as with resampled utterances), 9 % with eight, 7 % with twelve, 3 % with thirty.
MIN_SPEAKERS = 10


@dataclass(frozen=True)
class Ensemble:
    """Members and tie rule of an ensemble (`voting.vote`)."""

    members: list[str]
    tie_break: str
    tie_rule: voting.TieRule = "label"

    def vote(self, predictions: dict[str, pd.DataFrame]) -> pd.DataFrame:
        """The vote of the members on aligned `predictions`, which may include other systems."""
        return voting.vote({name: predictions[name] for name in self.members}, self.tie_break, self.tie_rule)


@dataclass(frozen=True)
class Split:
    """The utterances of a split with one of the eight labels.

    Args:
        name: ``validation`` or ``test``.
        utterances: their rows of the manifest and their `text` (null without a transcript), by `FileName`, sorted.
        predictions: the predictions of each system and ensemble, by name; the same rows in the same order.
    """

    name: str
    utterances: pd.DataFrame
    predictions: dict[str, pd.DataFrame]

    @cached_property
    def truth(self) -> np.ndarray:
        """(utterances,) the index of the true class."""
        return encode(self.utterances["EmoClass"])

    @cached_property
    def predicted(self) -> dict[str, np.ndarray]:
        """(utterances,) the index of the predicted class, by system."""
        return {name: encode(table["EmoClass"]) for name, table in self.predictions.items()}

    @cached_property
    def speakers(self) -> np.ndarray | None:
        """(utterances,) an index of the speaker, from 0; None if fewer than `MIN_SPEAKERS` are known.

        Each utterance of an unknown speaker counts as a separate speaker.
        """
        speakers, known = pd.factorize(self.utterances["SpkrID"])
        if len(known) < MIN_SPEAKERS:
            return None
        unknown = speakers < 0
        speakers[unknown] = len(known) + np.arange(unknown.sum())
        return speakers

    def probability(self, name: str, classes: np.ndarray) -> np.ndarray:
        """(utterances,) the probability of `name` for the class of that index, at most 1."""
        table = self.predictions[name][list(PROBABILITIES)].to_numpy(float)
        return np.minimum(table[np.arange(len(table)), classes], 1)

    def macro_f1(self, predicted: np.ndarray) -> float:
        """Macro-F1 of (utterances,) predicted classes, as in scores.json."""
        return float(metrics.score_confusion(confusion(self.truth, predicted))["macro_f1"])


@dataclass(frozen=True)
class Evaluation:
    """The splits with labels, and the ensembles among the systems."""

    splits: list[Split]
    ensembles: dict[str, Ensemble]


def read(
    manifest: Path,
    transcripts: Path | None,
    preds: dict[str, Path],
    ties: dict[str, tuple[str, voting.TieRule]] | None = None,
    labels_may_differ: bool = False,
) -> Evaluation:
    """Read and validate the inputs of the analysis.

    Args:
        manifest: manifest.parquet.
        transcripts: transcripts.parquet, which may be incomplete.
        preds: preds.csv of each system and ensemble, by name, in the order to show.
        ties: the tie-breaker and tie rule of each ensemble.
        labels_may_differ: as for `schemas.read_predictions`.

    Raises:
        UserError: a file is invalid; predictions do not match the manifest or each other; an ensemble's file has no
            votes, its members are missing or do not give the same vote.
    """
    rows = read_manifest(manifest)
    texts = read_transcripts(transcripts).set_index(KEY)["text"] if transcripts else pd.Series(dtype=object)
    tables = voting.read_members(preds, labels_may_differ)
    for name, table in tables.items():
        metrics.pair(rows, table.reset_index(), preds[name])  # validates them
    ensembles = {name: _ensemble(name, tables, preds[name], *tie) for name, tie in (ties or {}).items()}
    labelled = rows[rows["EmoClass"].isin(CLASSES)].set_index(KEY).sort_index()
    labelled["text"] = texts.reindex(labelled.index)
    splits = []
    for split in metrics.SCORED:
        utterances = labelled[labelled["split"] == split]
        if len(utterances):
            predictions = {name: table.loc[utterances.index] for name, table in tables.items()}
            splits.append(Split(split, utterances, predictions))
    return Evaluation(splits, ensembles)


def encode(letters: pd.Series) -> np.ndarray:
    """Emotion letters as indices into `CLASSES`."""
    return letters.map(INDEX).to_numpy(int)


def confusion(truth: np.ndarray, *predicted: np.ndarray) -> np.ndarray:
    """Counts of true classes (first axis) and predicted ones; one more axis for each additional array of predictions.

    Args:
        truth, predicted: (utterances,) class indices.
    """
    return count_combinations((len(CLASSES),) * (1 + len(predicted)), truth, *predicted)


def count_combinations(shape: tuple[int, ...], *indices: np.ndarray) -> np.ndarray:
    """An array of `shape`: how often each combination of the `indices`, one per axis, occurs."""
    return np.bincount(np.ravel_multi_index(indices, shape), minlength=np.prod(shape)).reshape(shape)


def _ensemble(
    name: str, tables: dict[str, pd.DataFrame], path: Path, tie_break: str, tie_rule: voting.TieRule
) -> Ensemble:
    members = voting.voters(tables[name])
    if not members:
        raise UserError(f"{path}: contains no votes; create it with vote.py, or remove {name} from --votes")
    missing = [member for member in members if member not in tables]
    if missing:
        raise UserError(f"--names: members of {name} are missing: {', '.join(missing)}; add their --preds")
    ensemble = Ensemble(members, tie_break, tie_rule)
    table = tables[name]
    differ = table.index[table["EmoClass"].to_numpy() != ensemble.vote(tables)["EmoClass"].to_numpy()]
    if len(differ):
        raise UserError(
            f"{path}: {voting.describe(differ)} differ from the vote of {', '.join(members)} with tie-breaker "
            f"{tie_break} and rule {tie_rule}; vote again, or correct --tie-breaks and --tie-rules"
        )
    return ensemble
