"""Individual annotators' votes, from the columns of a table: counts, or a distribution."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.data.corpora import fields
from abhinaya.data.schemas import VOTES
from abhinaya.labels import CLASSES, NO_AGREEMENT

MAX_ANNOTATORS = 100
TOLERANCE = 0.02  # of a count, since distributions are rounded
MIN_COLUMNS = 3  # so many columns with the names of emotions are votes; fewer may be anything


def read(table: pd.DataFrame, labels: Mapping[str, str | None], source: Path) -> pd.DataFrame | None:
    """The votes of each utterance, from columns `votes_A` … or from columns with the words of emotions.

    A distribution becomes the counts of the smallest number of annotators that can have it, at most 100.

    Args:
        labels: the letter of further words, as for the emotions.

    Returns:
        `votes_A` … `votes_U` as Int64, those that the table has; None without votes.

    Raises:
        UserError: a vote is not a number.
    """
    letter_of = {column: column[-1] for column in VOTES if column in table}
    if not letter_of:
        names = pd.Series([name for name in table.columns if len(name) > 1], dtype=object)
        letters = fields.emotions(names, labels)
        letter_of = {name: letter for name, letter in zip(names, letters, strict=True) if letter in CLASSES}
        if len(letter_of) < MIN_COLUMNS:
            return None
    values = fields.numbers(table, list(letter_of), source)
    summed = values.T.groupby(letter_of).sum(min_count=1).T
    counts = summed.apply(lambda row: _counts(row.to_numpy()), axis=1, result_type="expand")
    counts.columns = [f"votes_{letter}" for letter in summed]
    return counts.reindex(columns=[column for column in VOTES if column in counts]).astype("Int64")


def most_frequent(counts: pd.DataFrame) -> pd.Series:
    """The letter with the most votes: X (no agreement) for a tie, null without votes."""
    filled = counts.fillna(0).to_numpy(int)
    best = filled.max(axis=1, keepdims=True)
    letters = pd.Series(counts.columns.str[-1].to_numpy()[filled.argmax(axis=1)], index=counts.index, dtype=object)
    letters[(filled == best).sum(axis=1) > 1] = NO_AGREEMENT
    return letters.where(best[:, 0] > 0)


def _counts(shares: np.ndarray) -> np.ndarray:
    """Whole numbers in the ratio of `shares`; NaN stays NaN."""
    known = np.nan_to_num(shares)
    if (known == np.round(known)).all():
        return shares
    unsmoothed = known - known.min() if (known > 0).all() else known  # a smoothed distribution has no zero
    annotators = np.arange(1, MAX_ANNOTATORS + 1)[:, None]
    scaled = annotators * unsmoothed / unsmoothed.sum()
    fits = np.abs(scaled - np.round(scaled)).max(axis=1) < TOLERANCE
    return np.where(np.isnan(shares), np.nan, np.round(scaled[fits.argmax() if fits.any() else -1]))
