"""Calibration of probabilities: reliability bins and expected calibration error."""

import numpy as np
import pandas as pd

from abhinaya.evaluation.analysis.predictions import Evaluation

BINS = 15
EDGES = np.linspace(0, 1, BINS + 1)
COLUMNS = ["system", "split", "n", "ece", "confidence", "accuracy"]
BIN_COLUMNS = ["system", "split", "low", "high", "n", "confidence", "accuracy"]


def calibration(evaluation: Evaluation) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Confidence and accuracy of each system and ensemble.

    The confidence is the probability of the predicted label. For an ensemble that is the mean of its members'
    probabilities of the voted label, which may not be the most probable one.

    Returns:
        A row for each system and split (COLUMNS): the expected calibration error ``Σ n_m / n · |accuracy_m -
        confidence_m|`` (Guo et al. 2017, equation 3) over 15 equally wide bins, mean confidence, accuracy. And a row
        for each non-empty bin (BIN_COLUMNS).
    """
    rows, bins = [], []
    for split in evaluation.splits:
        for name in split.predictions:
            confidence = split.probability(name, split.predicted[name])
            correct = split.predicted[name] == split.truth
            by_bin = reliability(confidence, correct)
            bins.append(by_bin.assign(system=name, split=split.name))
            rows.append([name, split.name, len(correct), expected_error(by_bin), confidence.mean(), correct.mean()])
    table = pd.concat(bins, ignore_index=True)[BIN_COLUMNS] if bins else pd.DataFrame(columns=BIN_COLUMNS)
    return pd.DataFrame(rows, columns=COLUMNS), table


def reliability(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """The non-empty bins (low, high]; the first also contains 0.

    Args:
        confidence: (utterances,) in [0, 1].
        correct: (utterances,) bool, whether the label is correct.

    Returns:
        `low`, `high`, `n`, mean `confidence` and `accuracy` of each.
    """
    bins = pd.cut(confidence, EDGES, labels=False, include_lowest=True)
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float)}).groupby(bins)
    means = table.mean()
    return means.assign(low=EDGES[means.index], high=EDGES[means.index + 1], n=table.size()).reset_index(drop=True)


def expected_error(bins: pd.DataFrame) -> float:
    """The expected calibration error of the bins of `reliability`."""
    return float(np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["n"]))
