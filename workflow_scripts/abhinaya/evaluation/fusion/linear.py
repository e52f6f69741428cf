"""Fitted combinations of the members' calibrated log-probabilities, drawn towards their equally weighted mean.

Both minimise the mean negative log-likelihood plus ``penalty / 2`` times the squared deviation from the log-mean
(ridge regression with a non-zero target). An infinite penalty is the log-mean; how small it may be is decided by
cross-validation over whole speakers (`choose_penalty`). The numbers of a class without utterances stay where they are
drawn to.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from abhinaya.evaluation.fusion.calibration import fit_temperature, nll, nll_and_slope
from abhinaya.evaluation.fusion.cross_fitting import FOLDS, Apply, folds, within_one_error
from abhinaya.evaluation.fusion.sample import Sample, log_softmax

PENALTIES = (10_000.0, 100.0, 10.0, 1.0, 0.1, 0.01)  # the first is the log-mean to three digits
OPTIONS = {"maxiter": 1000, "maxfun": 2000}
Combination = tuple[np.ndarray, np.ndarray]  # coefficients, bias
Fit = Callable[[Sample, float, Combination | None], Combination]  # sample, penalty, where to start


def fit_weights(sample: Sample, penalty: float, start: Combination | None = None) -> Combination:
    """A weight >= 0 of each member and a bias of each class: ``softmax(Σ_m weight_m log p_m + bias)``.

    The weights are drawn towards their mean, which is free (its inverse is a temperature), the biases towards 0.

    Args:
        start: where the optimisation starts; default: the log-mean. The optimum does not depend on it.

    Returns:
        weights (members,), bias (classes,)
    """
    members, classes = sample.logs.shape[1:]
    present = np.isin(np.arange(classes), sample.truth)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = values[:members], values[members:]
        value, slope = nll_and_slope(np.tensordot(sample.logs, weights, (1, 0)) + bias, sample.truth, sample.weights)
        by_bias = present * (slope.sum(axis=0) + penalty * bias)
        by_weights = np.einsum("nc,nmc->m", slope, sample.logs) + penalty * (weights - weights.mean())
        deviation = np.concatenate([weights - weights.mean(), bias])
        return value + penalty / 2 * deviation @ deviation, np.concatenate([by_weights, by_bias])

    first = start or (np.full(members, _sharpness(sample) / members), np.zeros(classes))
    bounds = [(0, None)] * members + [(None, None)] * classes
    values = minimize(loss, np.concatenate(first), jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS).x
    return values[:members], values[members:]


def fit_stacking(
    sample: Sample, penalty: float, start: Combination | None = None, towards: np.ndarray | None = None
) -> Combination:
    """Multinomial logistic regression on all members' log-probabilities (stacked generalisation, Wolpert 1992).

    Args:
        start: where the optimisation starts; default: `towards`. The optimum does not depend on it.
        towards: (classes, members, classes) the coefficients without a penalty; default: those of the log-mean with
            its best temperature. Zeros give scikit-learn's `LogisticRegression` with C = 1 / (n · penalty).

    Returns:
        coefficients (classes, members, classes), from the last two axes to the first; bias (classes,)
    """
    count, members, classes = sample.logs.shape
    if towards is None:
        towards = np.repeat(np.eye(classes)[:, None], members, axis=1) * _sharpness(sample) / members
    features = np.hstack([sample.logs.reshape(count, -1), np.ones((count, 1))])
    target = _matrix(towards, np.zeros(classes))
    present = np.isin(np.arange(classes), sample.truth)[:, None]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        matrix = values.reshape(target.shape)
        value, slope = nll_and_slope(features @ matrix.T, sample.truth, sample.weights)
        deviation = matrix - target
        gradient = present * (slope.T @ features + penalty * deviation)
        return value + penalty / 2 * (deviation**2).sum(), gradient.ravel()

    first = target if start is None else _matrix(*start)
    matrix = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=OPTIONS).x.reshape(target.shape)
    return matrix[:, :-1].reshape(classes, members, classes), matrix[:, -1]


def combine(coefficients: np.ndarray, bias: np.ndarray) -> Apply:
    """The log-probabilities that `fit_weights` (1 axis) or `fit_stacking` (3 axes) describe.

    Terms are added one by one, so that an utterance gets the same numbers alone and with others.
    """

    def apply(logs: np.ndarray) -> np.ndarray:
        scores = np.tile(bias, (len(logs), 1))
        for place in range(logs.shape[1]):
            if coefficients.ndim == 1:
                scores += coefficients[place] * logs[:, place]
                continue
            for source in range(logs.shape[2]):
                scores += coefficients[:, place, source] * logs[:, place, source, None]
        return log_softmax(scores)

    return apply


def choose_penalty(fit: Fit, sample: Sample, seed: int) -> float:
    """The largest penalty whose held-out loss is within one standard error of the lowest (`within_one_error`).

    Penalties fall from the largest until two in a row are worse than the best. With fewer
    than `FOLDS` speakers it is the largest penalty.
    """
    parts = list(folds(sample, seed))
    if len(parts) < FOLDS:
        return PENALTIES[0]
    found: list[Combination | None] = [None] * len(parts)
    losses: list[list[float]] = []
    for penalty in PENALTIES:
        found = [fit(sample[part], penalty, start) for (part, _), start in zip(parts, found, strict=True)]
        pairs = zip(found, parts, strict=True)
        losses.append([_held_out_loss(combine(*each), sample, held_out) for each, (_, held_out) in pairs])
        if len(losses) - 1 - np.mean(losses, axis=1).argmin() == 2:
            break
    return PENALTIES[within_one_error(np.array(losses))]


def _held_out_loss(apply: Apply, sample: Sample, held_out: np.ndarray) -> float:
    weights = sample.weights[held_out]
    return nll(apply(sample.logs[held_out]), sample.truth[held_out], weights / weights.sum())


def _sharpness(sample: Sample) -> float:
    """The inverse of the best temperature of the log-mean."""
    return 1 / fit_temperature(sample.logs.mean(axis=1), sample.truth, sample.weights)


def _matrix(coefficients: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The coefficients (classes, members, classes) as (classes, members · classes), and the bias as a last column."""
    return np.hstack([coefficients.reshape(len(bias), -1), bias[:, None]])
