"""Scores of predictions: macro-F1 (the challenge's metric), UAR and accuracy, with confidence intervals."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from sklearn.metrics import confusion_matrix

from abhinaya.data.schemas import DEVELOPMENT, KEY
from abhinaya.evaluation.voting import describe
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json

SCORED = ("validation", "test")
LEVEL = 95  # per cent; of the intervals
MAX_RESAMPLES = 1_000_000
BOUNDS = (50 - LEVEL / 2, 50 + LEVEL / 2)  # percentiles


class Strict(BaseModel):
    """A part of scores.json; "3" is not a number."""

    model_config = ConfigDict(strict=True)


Rate = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[Rate], Field(min_length=2, max_length=2)]
Intervals = create_model("Intervals", __base__=Strict, **dict.fromkeys(CLASSES, (Interval | None, ...)))
PerClass = create_model("PerClass", __base__=Strict, **dict.fromkeys(CLASSES, (Rate | None, ...)))
Support = create_model("Support", __base__=Strict, **dict.fromkeys(CLASSES, (int, ...)))
Row = Annotated[list[int], Field(min_length=len(CLASSES), max_length=len(CLASSES))]


class SplitScores(Strict):
    """The scores of one split in scores.json."""

    n: int
    macro_f1: Rate
    macro_f1_interval: Interval
    uar: Rate
    uar_interval: Interval
    accuracy: Rate
    accuracy_interval: Interval
    per_class_f1: PerClass
    per_class_f1_interval: Intervals | None = None
    per_class_precision: PerClass
    per_class_recall: PerClass
    support: Support
    confusion: Annotated[list[Row], Field(min_length=len(CLASSES), max_length=len(CLASSES))]


class BootstrapSettings(Strict):
    """The bootstrap settings of the intervals in scores.json."""

    resamples: int
    seed: int
    level: Rate


class Scores(Strict):
    """The format of scores.json, written by `score`."""

    validation: SplitScores | None
    test: SplitScores | None
    bootstrap: BootstrapSettings | None = None
    unlabelled: dict[str, int] = {}


def read_scores(path: str | Path) -> dict:
    """Read a `scores.json`.

    Raises:
        UserError: the file is missing or invalid.
    """
    scores = read_json(path)
    try:
        Scores.model_validate(scores)
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}; give a scores.json written by score.py") from None
    return scores


def first_error(invalid: ValidationError) -> str:
    """The first error of a JSON file: its place, and what is wrong."""
    first = invalid.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']}"


def check_bootstrap(resamples: int, seed: int) -> None:
    """Raise a `UserError` if `resamples` or `seed` is invalid."""
    if resamples < 1:
        raise UserError(f"bootstrap: {resamples} resamples are too few; use at least 1")
    if resamples > MAX_RESAMPLES:
        raise UserError(f"bootstrap: {resamples} resamples do not fit in memory; use at most {MAX_RESAMPLES}")
    if seed < 0:
        raise UserError(f"seed: {seed} is negative; use 0 or more")


def score(
    manifest: pd.DataFrame,
    predictions: pd.DataFrame,
    resamples: int = 1000,
    seed: int = 1234,
    source: str | Path = "predictions",
) -> dict:
    """Score each split that has labels; rows with label O, X or none are only counted.

    Args:
        manifest: as from `schemas.read_manifest`.
        predictions: as from `schemas.read_predictions`; one for each validation and test row of the manifest.
        resamples: number of bootstrap resamples.
        seed: of the bootstrap.
        source: the predictions' file, for messages.

    Returns:
        ``validation`` and ``test``: the scores of `score_confusion` and their intervals, null without labels;
        ``unlabelled`` and ``not_scored`` (O, X): counts by split; ``labels`` and ``bootstrap``: class order and
        settings.

    Raises:
        UserError: predictions and manifest have different utterances or splits; `resamples` or `seed` is invalid.
    """
    check_bootstrap(resamples, seed)
    pairs = pair(manifest, predictions, source)
    splits = {split: pairs[pairs["split"] == split] for split in SCORED}
    return {
        "labels": CLASSES,
        "bootstrap": {"resamples": resamples, "seed": seed, "level": LEVEL / 100, "stratified": "true class"},
        **{split: _score_split(rows, resamples, (seed, SCORED.index(split))) for split, rows in splits.items()},
        "unlabelled": {split: int(rows["truth"].isna().sum()) for split, rows in splits.items()},
        "not_scored": {
            split: int((rows["truth"].notna() & ~rows["truth"].isin(CLASSES)).sum()) for split, rows in splits.items()
        },
    }


def score_confusion(confusion: np.ndarray, occurs: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Scores of one confusion matrix or of a stack of them.

    Macro-F1 is scikit-learn's ``f1_score(average="macro")``: the mean over the classes that occur in the truth or in
    the predictions. UAR is its ``balanced_accuracy_score``: the mean recall over the classes that occur in the truth.

    Args:
        confusion: (…, classes, classes) counts; rows are the truth.
        occurs: (…, classes) bool, the classes that macro-F1 averages over; default: those that occur in
            `confusion`. A class that is neither true nor predicted counts 0.

    Returns:
        `macro_f1`, `uar`, `accuracy`: (…); `f1`, `precision`, `recall`: (…, classes), NaN where undefined.
    """
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    occurs = true + predicted > 0 if occurs is None else occurs
    f1 = _divide(2 * correct, true + predicted)
    recall = _divide(correct, true)
    return {
        "macro_f1": np.where(occurs, np.nan_to_num(f1), 0).sum(axis=-1) / occurs.sum(axis=-1),
        "uar": np.nan_to_num(recall).sum(axis=-1) / (true > 0).sum(axis=-1),
        "accuracy": correct.sum(axis=-1) / confusion.sum(axis=(-2, -1)),
        "f1": f1,
        "precision": _divide(correct, predicted),
        "recall": recall,
    }


def resample(confusion: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Confusion matrices of utterances resampled with replacement within each true class.

    The predicted labels of n resampled utterances of a class are multinomial with the row's shares, so each row is one
    draw.

    Args:
        confusion: (classes, classes) counts; rows are the truth.

    Returns:
        (resamples, classes, classes) counts, whose rows sum to those of `confusion`.
    """
    rows = [
        rng.multinomial(row.sum(), row / row.sum(), size=resamples)
        if row.any()
        else np.zeros((resamples, len(row)), int)
        for row in confusion
    ]
    return np.stack(rows, axis=1)


def pair(manifest: pd.DataFrame, predictions: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Each validation and test row with its prediction: `split`, `truth` (letter or null), `predicted`.

    Raises:
        UserError: predictions and manifest have different utterances or splits.
    """
    rows = manifest.set_index(KEY)
    predicted = predictions[predictions["Split"] != DEVELOPMENT].set_index(KEY)  # which is not scored
    expected = rows[rows["split"].isin(SCORED)]
    both = expected.index.intersection(predicted.index)
    for names, problem in (
        (predicted.index.difference(rows.index), "not in the manifest"),
        (predicted.index.difference(expected.index), "in neither validation nor test in the manifest"),
        (expected.index.difference(predicted.index), "in the manifest, but not predicted"),
        (
            both[expected.loc[both, "split"] != predicted.loc[both, "Split"]],
            "with a Split other than in the manifest",
        ),
    ):
        if len(names):
            raise UserError(f"{source}: {describe(names)} {problem}; predict again on this manifest")
    predicted = predicted.loc[expected.index]
    return pd.DataFrame({"split": expected["split"], "truth": expected["EmoClass"], "predicted": predicted["EmoClass"]})


def _score_split(pairs: pd.DataFrame, resamples: int, seed: tuple[int, int]) -> dict | None:
    pairs = pairs[pairs["truth"].isin(CLASSES)]
    if pairs.empty:
        return None
    confusion = confusion_matrix(pairs["truth"], pairs["predicted"], labels=list(CLASSES))
    point = score_confusion(confusion)
    occurs = ~np.isnan(point["f1"])
    resampled = score_confusion(resample(confusion, resamples, np.random.default_rng(seed)), occurs)
    scores: dict = {"n": len(pairs)}
    for name in ("macro_f1", "uar", "accuracy"):
        scores[name] = float(point[name])
        scores[f"{name}_interval"] = np.percentile(resampled[name], BOUNDS).tolist()
    for name in ("f1", "precision", "recall"):
        scores[f"per_class_{name}"] = dict(zip(CLASSES, point[name].tolist(), strict=True))
    ends = np.percentile(np.nan_to_num(resampled["f1"]), BOUNDS, axis=0).T.tolist()
    scores["per_class_f1_interval"] = {
        letter: interval if defined else None for letter, interval, defined in zip(CLASSES, ends, occurs, strict=True)
    }
    scores["support"] = dict(zip(CLASSES, confusion.sum(axis=1).tolist(), strict=True))
    scores["confusion"] = confusion.tolist()
    return scores


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
