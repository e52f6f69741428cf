"""Prior correction of one member: logit adjustment after training (Menon et al. 2021, arXiv 2007.07314)."""

import numpy as np

from abhinaya.evaluation.fusion.cross_fitting import FOLDS, folds, within_one_error
from abhinaya.evaluation.fusion.sample import Sample, balanced_macro_f1, log_softmax

TAUS = np.arange(16) / 10  # 0 to 1.5


def effective_prior(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(classes,) a member's mean probabilities on a balanced sample: the prior that its predictions carry.

    A model trained with class weights has another prior than its training data, so it is measured.

    Args:
        logs: (utterances, classes) log-probabilities.
        weights: (utterances,) `Sample.weights`.
    """
    return weights @ np.exp(logs)


def corrected(logs: np.ndarray, prior: np.ndarray, tau: float) -> np.ndarray:
    """``log p - tau log prior``, normalised."""
    return log_softmax(logs - tau * np.log(prior))


def fit_tau(sample: Sample, logs: np.ndarray, seed: int) -> float:
    """The smallest exponent whose held-out balanced macro-F1 is within one standard error of the highest.

    Cross-validation over whole speakers, with the prior measured on the speakers of the other folds: a correction that
    helps one speaker and harms the next is not made. With fewer than `FOLDS` speakers it is 0.

    Args:
        logs: (utterances, classes) the member's calibrated log-probabilities on `sample`.
    """
    parts = list(folds(sample, seed))
    if len(parts) < FOLDS:
        return 0.0
    scores = []
    for part, held_out in parts:
        prior = effective_prior(logs[part], sample[part].weights)
        labels = [corrected(logs[held_out], prior, tau).argmax(axis=1) for tau in TAUS]
        scores.append([balanced_macro_f1(sample[held_out], each) for each in labels])
    return float(TAUS[within_one_error(-np.array(scores).T)])
