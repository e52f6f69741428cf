"""Calibration of one member: temperature scaling and vector scaling (Guo et al. 2017, arXiv 1706.04599)."""

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from abhinaya.evaluation.fusion.sample import log_softmax

TEMPERATURES = (0.05, 100.0)  # bounds; a member no better than chance reaches the upper one


def fit_temperature(logs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The temperature T that minimises the negative log-likelihood of ``softmax(logs / T)``.

    The likelihood is concave in 1 / T, so there is one optimum.

    Args:
        logs: (utterances, classes) log-probabilities.
        truth: (utterances,) class indices.
        weights: (utterances,) that sum to 1.
    """

    def loss(inverse: float) -> float:
        return nll(inverse * logs, truth, weights)

    low, high = (1 / bound for bound in reversed(TEMPERATURES))
    return float(1 / minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8}).x)


def fit_vector_scaling(
    logs: np.ndarray, truth: np.ndarray, weights: np.ndarray, effective_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """A scale and a bias of each class that minimise the negative log-likelihood of ``softmax(scale · logs + bias)``.

    Each is drawn towards temperature scaling (scale 1 / T, bias 0) by a normal prior with standard deviation 1, so few
    utterances move it little. A class without utterances keeps scale 1 / T and bias 0.

    Args:
        logs, truth, weights: as for `fit_temperature`.
        effective_size: the number of utterances that `weights` are worth.

    Returns:
        scale (classes,), bias (classes,)
    """
    classes = logs.shape[1]
    present = np.tile(np.isin(np.arange(classes), truth), 2)
    start = np.concatenate([np.full(classes, 1 / fit_temperature(logs, truth, weights)), np.zeros(classes)])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = values[:classes], values[classes:]
        value, slope = nll_and_slope(scale * logs + bias, truth, weights)
        deviation = (values - start) / effective_size
        gradient = np.concatenate([(slope * logs).sum(axis=0), slope.sum(axis=0)])
        return value + (values - start) @ deviation / 2, present * (gradient + deviation)

    values = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return values[:classes], values[classes:]


def nll(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The weighted negative log-likelihood of ``softmax(scores)``, (utterances, classes)."""
    return float(-(weights * log_softmax(scores)[np.arange(len(truth)), truth]).sum())


def nll_and_slope(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """`nll`, and its derivative by `scores` (utterances, classes)."""
    logs, rows = log_softmax(scores), np.arange(len(truth))
    slope = np.exp(logs)
    slope[rows, truth] -= 1
    return float(-(weights * logs[rows, truth]).sum()), weights[:, None] * slope
