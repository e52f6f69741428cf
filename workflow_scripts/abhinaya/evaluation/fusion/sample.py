"""The labelled utterances that a fusion is fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation.metrics import score_confusion
from abhinaya.labels import INDEX

FLOOR = 1e-6  # of a probability, so that its logarithm is finite for a member that is certain


@dataclass(frozen=True)
class Sample:
    """Labelled utterances with the members' probabilities.

    Args:
        logs: (utterances, members, classes) log-probabilities from `log_probabilities`.
        truth: (utterances,) the index of the true class.
        groups: (utterances,) an index of the speaker; utterances of a group are never in two folds.
    """

    logs: np.ndarray
    truth: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, chosen: np.ndarray) -> "Sample":
        """The utterances that `chosen` (indices or bool) selects."""
        return Sample(self.logs[chosen], self.truth[chosen], self.groups[chosen])

    @cached_property
    def weights(self) -> np.ndarray:
        """(utterances,) weights proportional to 1 / n_c that sum to 1: each class of the sample counts the same."""
        counts = np.bincount(self.truth, minlength=self.logs.shape[2])
        weights = 1 / counts[self.truth]
        return weights / weights.sum()

    @property
    def effective_size(self) -> float:
        """Kish's effective number of utterances, ``1 / Σ weights²``: that of a balanced sample as informative."""
        return float(1 / (self.weights**2).sum())


def log_probabilities(members: Sequence[pd.DataFrame], classes: Sequence[str]) -> np.ndarray:
    """Log-probabilities of aligned predictions over `classes`, at least log `FLOOR` before normalisation.

    A probability of 0 or 1, such as that of a language model that names a word, so stays finite; calibration then
    sets how much it is trusted.

    Returns:
        (utterances, members, classes)
    """
    columns = [PROBABILITIES[INDEX[letter]] for letter in classes]
    stacked = np.stack([table[columns].to_numpy(float) for table in members], axis=1)
    return log_softmax(np.log(np.maximum(stacked, FLOOR)))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax over the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def balanced_confusion(sample: Sample, predicted: np.ndarray) -> np.ndarray:
    """(classes, classes) confusion matrix with every true class scaled to 1, as on a balanced set."""
    size = sample.logs.shape[2]
    counts = np.bincount(sample.truth * size + predicted, minlength=size * size).reshape(size, size).astype(float)
    return balanced(counts)


def balanced(confusion: np.ndarray) -> np.ndarray:
    """(…, classes, classes) confusion matrices with every occurring true class scaled to 1."""
    totals = confusion.sum(axis=-1, keepdims=True)
    return np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)


def balanced_macro_f1(sample: Sample, predicted: np.ndarray) -> float:
    """Macro-F1 of (utterances,) predicted classes as on a set with equally many utterances of each class."""
    return float(score_confusion(balanced_confusion(sample, predicted))["macro_f1"])
