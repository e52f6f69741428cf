"""Fitting a probe: scikit-learn's classifier on the standardised vectors of the training split.

The regularisation is chosen by cross-validation within the training split, over its speakers where they are known.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch.nn.functional import cross_entropy

from abhinaya.config.system import TrainedSystem
from abhinaya.data.dataset import Utterances
from abhinaya.modeling.probe import LogisticProbe, SvmProbe
from abhinaya.runtime.errors import UserError
from abhinaya.training import metrics, standardisation

REGULARISATION = {  # values of C, strongest first
    "logistic": (0.0001, 0.001, 0.01, 0.1, 1.0),
    "svm": (0.1, 1.0, 10.0, 100.0),
}
FOLDS = 5
SLOPES = np.geomspace(0.01, 100, 161)  # factors of the margins that are compared
Split = tuple[np.ndarray, np.ndarray]  # row numbers: training, held out


class Machines(ClassifierMixin, BaseEstimator):
    """A support vector machine for each class against all others; an estimator of scikit-learn."""

    def __init__(self, regularisation: float) -> None:
        self.regularisation = regularisation

    def fit(self, vectors: np.ndarray, labels: np.ndarray) -> "Machines":
        self.classes_ = np.unique(labels)
        self.machines_ = [
            SVC(C=self.regularisation, gamma=1 / vectors.shape[1], class_weight="balanced").fit(vectors, labels == each)
            for each in self.classes_
        ]
        return self

    def decision_function(self, vectors: np.ndarray) -> np.ndarray:
        """(n, classes)"""
        return np.stack([machine.decision_function(vectors) for machine in self.machines_], axis=1)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        return self.classes_[self.decision_function(vectors).argmax(1)]


def logistic(regularisation: float) -> LogisticRegression:
    return LogisticRegression(C=regularisation, class_weight="balanced", max_iter=3000)


ESTIMATORS: dict[str, Callable[[float], Any]] = {"logistic": logistic, "svm": Machines}


def fit(
    classifier: LogisticProbe | SvmProbe,
    settings: TrainedSystem,
    data: dict[str, Utterances],
    rows: pd.DataFrame,
    workers: int,
) -> dict[str, Any]:
    """Fit the probe on the split `train` of `data`; the content of its `metrics.json`.

    Args:
        classifier: on its device; gets the statistics of the vectors and the fitted arrays.
        rows: of the training split.

    Raises:
        UserError: the training split has a single emotion.
    """
    started = time.monotonic()
    kind = settings.head.kind
    standardisation.fit(classifier, data["train"], settings.training, workers)
    vectors, labels = standardised(classifier, data["train"], settings, workers)
    if len(np.unique(labels)) < 2:
        raise UserError(f"manifest: all training utterances are {rows['EmoClass'].iloc[0]}; a probe needs two emotions")
    speakers = speakers_of(rows)
    splits = folds(labels, speakers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with weak regularisation, which is then not chosen
        table = cross_validate(ESTIMATORS[kind], REGULARISATION[kind], vectors, labels, splits)
    chosen = max(table, key=table.get, default=REGULARISATION[kind][len(REGULARISATION[kind]) // 2])
    estimator = ESTIMATORS[kind](chosen).fit(vectors, labels)
    if kind == "svm":
        store_machines(classifier, estimator, vectors, slope(chosen, vectors, labels, splits))
    else:
        store_logistic(classifier, estimator)
    held_out, truth = standardised(classifier, data["validation"], settings, workers)
    with torch.inference_mode():
        pooled = torch.from_numpy(held_out).to(classifier.untrained.device)
        logits = classifier.classify(pooled).masked_fill(classifier.untrained, float("-inf"))
    return {
        "epochs": [],
        "kind": kind,
        "C": chosen,
        "cross_validation": {f"{value:g}": score for value, score in table.items()},
        "folds": len(splits),
        "grouped_by_speaker": speakers is not None,
        "validation": metrics.scores(logits.cpu().numpy(), truth),
        "seconds": time.monotonic() - started,
    }


def standardised(
    classifier: LogisticProbe | SvmProbe, utterances: Utterances, settings: TrainedSystem, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised vectors (n, W) float64 and labels (n,) of `utterances`, in their order."""
    vectors = standardisation.pooled_vectors(classifier, utterances, settings.training, workers)
    device = classifier.untrained.device
    values = classifier.standardisation(torch.from_numpy(vectors).to(device)).double().cpu().numpy()
    return values, np.array(utterances.labels)


def speakers_of(rows: pd.DataFrame) -> np.ndarray | None:
    """The speaker of each row; None unless all are known and there are several."""
    if "SpkrID" not in rows or rows["SpkrID"].isna().any() or rows["SpkrID"].nunique() < 2:
        return None
    return rows["SpkrID"].to_numpy()


def folds(labels: np.ndarray, speakers: np.ndarray | None) -> list[Split]:
    """The splits of the cross-validation, at most `FOLDS`, stratified by class, no speaker on both sides.

    Empty if the training split is too small: no class occurs twice, or the rest of a fold would have a single class.
    """
    largest = int(np.unique(labels, return_counts=True)[1].max())
    count = min(FOLDS, largest, len(labels) if speakers is None else len(np.unique(speakers)))
    if count < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer utterances than folds
        if speakers is None:
            splits = list(StratifiedKFold(count).split(labels, labels))
        else:
            splits = list(StratifiedGroupKFold(count).split(labels, labels, speakers))
    return splits if all(len(np.unique(labels[train])) > 1 for train, _ in splits) else []


def cross_validate(
    estimator: Callable[[float], Any],
    values: Sequence[float],
    vectors: np.ndarray,
    labels: np.ndarray,
    splits: list[Split],
) -> dict[float, float]:
    """Macro-F1 of the held-out predictions of all `splits` together, for each of `values` of C; empty without splits.

    Each fold is standardised by its own training part.
    """
    table = {}
    for value in values if splits else ():
        predicted = np.empty_like(labels)
        for train, held_out in splits:
            model = make_pipeline(StandardScaler(), estimator(value)).fit(vectors[train], labels[train])
            predicted[held_out] = model.predict(vectors[held_out])
        table[value] = float(f1_score(labels, predicted, average="macro"))
    return table


def slope(regularisation: float, vectors: np.ndarray, labels: np.ndarray, splits: list[Split]) -> float:
    """The factor of the margins with the highest likelihood of the held-out labels; 1 without splits."""
    margins, classes = np.full((len(labels), len(np.unique(labels))), -1.0), np.unique(labels)
    for train, held_out in splits:
        scaler = StandardScaler().fit(vectors[train])
        machines = Machines(regularisation).fit(scaler.transform(vectors[train]), labels[train])
        columns = np.searchsorted(classes, machines.classes_)
        margins[np.ix_(held_out, columns)] = machines.decision_function(scaler.transform(vectors[held_out]))
    if not splits:
        return 1.0
    truth = torch.from_numpy(np.searchsorted(classes, labels))
    losses = [cross_entropy(factor * torch.from_numpy(margins), truth).item() for factor in SLOPES]
    return float(SLOPES[np.argmin(losses)])


def store_logistic(classifier: LogisticProbe, estimator: LogisticRegression) -> None:
    """Copy the coefficients. With two classes scikit-learn has only those of the second: the first gets 0."""
    rows = estimator.classes_ if len(estimator.classes_) > 2 else estimator.classes_[1:]
    classifier.weight[rows] = torch.from_numpy(estimator.coef_).to(classifier.weight)
    classifier.bias[rows] = torch.from_numpy(estimator.intercept_).to(classifier.bias)


def store_machines(classifier: SvmProbe, estimator: Machines, vectors: np.ndarray, factor: float) -> None:
    """Copy the training vectors, and the dual coefficients of the support vectors of each class."""
    classifier.vectors.copy_(torch.from_numpy(vectors))
    classifier.slope.fill_(factor)
    for row, machine in zip(estimator.classes_, estimator.machines_, strict=True):
        classifier.weight[row, machine.support_] = torch.from_numpy(machine.dual_coef_[0]).to(classifier.weight)
        classifier.bias[row] = float(machine.intercept_[0])
