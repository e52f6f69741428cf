"""Folds of whole speakers, for scores on the data that a fusion is fitted on (cross-fitting, nested)."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from abhinaya.evaluation.fusion.sample import Sample

FOLDS = 5
ROUNDING = 1e-12
Apply = Callable[[np.ndarray], np.ndarray]  # (utterances, members, classes) -> (utterances, classes) log-probabilities


def groups_of(speakers: pd.Series) -> tuple[np.ndarray, str]:
    """(utterances,) an index of the group that stays in one fold, and what it is: ``speaker`` or ``utterance``.

    An utterance without a known speaker is its own group, and so is every utterance if there is a single speaker.
    """
    groups, known = pd.factorize(speakers)
    if len(known) < 2:
        return np.arange(len(speakers)), "utterance"
    unknown = groups < 0
    groups[unknown] = len(known) + np.arange(unknown.sum())
    return groups, "speaker"


def folds(sample: Sample, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the utterances to fit on and of those held out, stratified by class, whole groups at a time.

    Nothing for fewer than two groups.
    """
    count = min(FOLDS, len(np.unique(sample.groups)))
    if count < 2:
        return
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer utterances than folds
        yield from [
            (fitted, held_out)
            for fitted, held_out in splitter.split(sample.truth, sample.truth, sample.groups)
            if len(fitted) and len(held_out)
        ]


def within_one_error(losses: np.ndarray) -> int:
    """The first choice whose loss is within one standard error of the lowest (Breiman et al. 1984).

    The error is that of the mean difference to the lowest over the folds, paired. With fewer folds than `FOLDS`, so
    fewer speakers, it is the first choice: two speakers that agree do not show what holds for others.

    Args:
        losses: (choices, folds) from the most cautious choice to the least.
    """
    if losses.shape[-1] < FOLDS:
        return 0
    excess = losses - losses[losses.mean(axis=1).argmin()]
    errors = excess.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return int(np.argmax(excess.mean(axis=1) <= errors + ROUNDING))


def cross_fitted(fit: Callable[[Sample], Apply], sample: Sample, seed: int) -> np.ndarray:
    """(utterances, classes) log-probabilities of each utterance by a fit without its speaker."""
    logs = np.empty((len(sample), sample.logs.shape[2]))
    for fitted, held_out in folds(sample, seed):
        logs[held_out] = fit(sample[fitted])(sample.logs[held_out])
    return logs
