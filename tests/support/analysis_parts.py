"""Small evaluations for the tests of abhinaya.evaluation.analysis: utterances, labels and predictions."""

from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, MANIFEST, PROBABILITIES, TRANSCRIPTS, write_manifest, write_predictions
from abhinaya.evaluation.analysis.predictions import Ensemble, Evaluation, Split
from abhinaya.evaluation.voting import vote
from abhinaya.labels import CLASSES
from abhinaya.runtime.files import write_parquet

SHARES = [0.12, 0.06, 0.05, 0.05, 0.25, 0.32, 0.1, 0.05]  # of the classes, imbalanced as in MSP-Podcast


def names(n: int, split: str) -> list[str]:
    return [f"{split}_{index:04d}.wav" for index in range(n)]


def manifest(labels: list[str | None], split: str = "validation", **columns) -> pd.DataFrame:
    """Rows of a manifest; `columns` overrides."""
    fixed = {KEY: names(len(labels), split), "path": "x.wav", "split": split, "EmoClass": labels, "duration": 3.0}
    return pd.DataFrame(fixed | columns).reindex(columns=MANIFEST.names)


def predictions(labels: list[str], split: str = "validation", seed: int = 0) -> pd.DataFrame:
    """Rows of a preds.csv; each label is its likeliest."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 1, (len(labels), len(CLASSES)))
    weights[np.arange(len(labels)), [CLASSES.index(label) for label in labels]] = rng.uniform(1, 6, len(labels))
    table = pd.DataFrame(weights / weights.sum(axis=1, keepdims=True), columns=list(PROBABILITIES))
    return table.assign(FileName=names(len(labels), split), Split=split, EmoClass=list(labels))


def made(truth: list[str], guesses: dict[str, list[str]], split: str = "validation", **columns) -> Split:
    """A split; `guesses` are the labels of each system."""
    tables = {
        name: predictions(list(given), split, seed).set_index(KEY) for seed, (name, given) in enumerate(guesses.items())
    }
    text = columns.pop("text", None)
    utterances = manifest(list(truth), split, **columns).set_index(KEY).assign(text=text)
    return Split(split, utterances, tables)


def with_vote(splits: list[Split], members: list[str], tie_break: str, rule: str = "label") -> Evaluation:
    """The splits and an ensemble ``vote`` of `members`."""
    for split in splits:
        voted = vote({name: split.predictions[name] for name in members}, tie_break, rule)
        split.predictions["vote"] = voted.set_index(KEY)
    return Evaluation(splits, {"vote": Ensemble(members, tie_break, rule)})


def truths(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(CLASSES, n, p=SHARES)


def guess(truth: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Labels of a system that is correct on the share `right` of the utterances and guesses the others."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < right, truth, rng.choice(CLASSES, len(truth), p=SHARES))


def write_files(folder: Path, rows: pd.DataFrame, tables: dict[str, pd.DataFrame], texts: dict[str, str]) -> dict:
    """The files that `evaluation.read` reads, by the names of its arguments."""
    write_manifest(rows, folder / "manifest.parquet")
    transcripts = pd.DataFrame({KEY: list(texts), "text": list(texts.values())})
    write_parquet(transcripts, TRANSCRIPTS, folder / "transcripts.parquet")
    for name, table in tables.items():
        write_predictions(table, folder / name / "preds.csv")
    return {
        "manifest": folder / "manifest.parquet",
        "transcripts": folder / "transcripts.parquet",
        "preds": {name: folder / name / "preds.csv" for name in tables},
    }
