"""Prior correction of one member: logit adjustment after training (Menon et al. 2021, arXiv 2007.07314)."""

import numpy as np

from abhinaya.evaluation.fusion.sample import Sample, balanced, log_softmax
from abhinaya.evaluation.metrics import resample, score_confusion

TAUS = np.arange(16) / 10  # 0 to 1.5
RESAMPLES = 200
SEED = 0  # of the bootstrap


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


def fit_tau(sample: Sample, logs: np.ndarray, prior: np.ndarray) -> float:
    """The exponent with the highest balanced macro-F1, or 0 if its gain is within one standard error.

    The standard error is that of the gain over tau = 0 in a stratified bootstrap of the utterances; of equal taus the
    smallest is taken. So few utterances do not move a member.

    Args:
        logs: (utterances, classes) the member's calibrated log-probabilities on `sample`.
    """
    labels = np.stack([corrected(logs, prior, tau).argmax(axis=1) for tau in TAUS])
    size = logs.shape[1]
    scores = [_macro_f1(_joint(sample.truth, labels[0], labels[place], size))[1] for place in range(len(TAUS))]
    best = int(np.argmax(np.round(scores, 12)))
    if best == 0:
        return 0.0
    joint = _joint(sample.truth, labels[0], labels[best], size)
    drawn = resample(joint.reshape(size, -1), RESAMPLES, np.random.default_rng(SEED)).reshape(-1, size, size, size)
    before, after = _macro_f1(joint)
    drawn_before, drawn_after = _macro_f1(drawn)
    error = float(np.std(drawn_after - drawn_before, ddof=1))
    return float(TAUS[best]) if after - before > error else 0.0


def _joint(truth: np.ndarray, a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """(classes, classes, classes) counts of the true class and two predicted ones."""
    return np.bincount((truth * size + a) * size + b, minlength=size**3).reshape(size, size, size)


def _macro_f1(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Balanced macro-F1 of the two predictions of (…, classes, classes, classes) counts."""
    of_a, of_b = (score_confusion(balanced(joint.sum(axis=axis)))["macro_f1"] for axis in (-1, -2))
    return of_a, of_b
