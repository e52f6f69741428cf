"""Agreement of the voters: Cohen's kappa of each pair."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score

from abhinaya.evaluation.analysis.predictions import Evaluation
from abhinaya.labels import CLASSES

COLUMNS = ["split", "a", "b", "kappa", "agree"]


def agreement(evaluation: Evaluation) -> pd.DataFrame:
    """Compare the labels of all ensembles' members pairwise.

    Returns:
        A row for each split and pair (COLUMNS): Cohen's `kappa` (scikit-learn's), undefined if both give
        a single label throughout, and the share of utterances on which they `agree`.
    """
    voters = {member for ensemble in evaluation.ensembles.values() for member in ensemble.members}
    rows = []
    for split in evaluation.splits:
        for a, b in combinations([name for name in split.predictions if name in voters], 2):
            of_a, of_b = split.predicted[a], split.predicted[b]
            rows.append([split.name, a, b, _kappa(of_a, of_b), np.mean(of_a == of_b)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _kappa(a: np.ndarray, b: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)  # NaN is returned
        return float(cohen_kappa_score(a, b, labels=range(len(CLASSES))))
