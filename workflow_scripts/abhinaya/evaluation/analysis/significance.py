"""Significance of differences: paired bootstrap of macro-F1 and McNemar's test for each pair of systems."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval, p_value
from abhinaya.evaluation.analysis.predictions import Evaluation, Split
from abhinaya.evaluation.metrics import LEVEL

TESTS = ("p_bootstrap", "p_speakers", "p_mcnemar")
COLUMNS = [
    "split", "a", "b", "n", "difference", "low", "high", "p_bootstrap", "p_bootstrap_holm",
    "speakers_low", "speakers_high", "p_speakers", "p_speakers_holm",
    "only_a_right", "only_b_right", "p_mcnemar", "p_mcnemar_holm",
]  # fmt: skip


def compare(evaluation: Evaluation, bootstrap: Bootstrap, chosen: list[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Compare all systems and ensembles pairwise on each split, or only the `chosen` pairs.

    Args:
        bootstrap: its settings; with many pairs more resamples are used, so that the smallest p-value can be
            significant (`_enough_resamples`).

    Returns:
        A row for each split and pair (COLUMNS): `difference` of macro-F1, a - b, with its 95 % interval and p-value
        (`bootstrap.p_value`), with resampled utterances and with resampled speakers (``speakers``; NaN if
        `Split.speakers` is None); the numbers of utterances `only_a_right` and `only_b_right`, with the p-value of
        McNemar's exact test. ``…_holm`` is the p-value after Holm's correction for all pairs of the split.
    """
    tables = []
    for split in evaluation.splits:
        pairs = list(combinations(split.predictions, 2)) if chosen is None else chosen
        enough = _enough_resamples(bootstrap, len(pairs))
        speakers = _resample_speakers(split, enough)
        tables.append(_adjust([_pair(split, *pair, enough) | _by_speakers(speakers, *pair) for pair in pairs]))
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def _enough_resamples(bootstrap: Bootstrap, pairs: int) -> Bootstrap:
    """Enough resamples B that the smallest p-value after Holm, 2 / (B + 1) · `pairs`, is at most 2.5 %."""
    needed = pairs * 2 * 2 * 100 // (100 - LEVEL) - 1
    return replace(bootstrap, resamples=max(bootstrap.resamples, needed))


def _pair(split: Split, a: str, b: str, bootstrap: Bootstrap) -> dict:
    of_a, of_b = split.predicted[a], split.predicted[b]
    difference, resampled = bootstrap.difference(split.truth, of_a, of_b, "comparison", split.name, a, b)
    low, high = interval(resampled)
    right_a, right_b = of_a == split.truth, of_b == split.truth
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return {
        "split": split.name,
        "a": a,
        "b": b,
        "n": len(split.truth),
        "difference": difference,
        "low": low,
        "high": high,
        "p_bootstrap": p_value(resampled),
        "only_a_right": only_a,
        "only_b_right": only_b,
        "p_mcnemar": float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue),  # the diagonal does not count
    }


def _resample_speakers(split: Split, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """(resamples,) macro-F1 by system with resampled speakers; empty if speakers are unknown."""
    if split.speakers is None:
        return {}
    return bootstrap.by_speaker(split.speakers, split.truth, split.predicted, "speakers", split.name)


def _by_speakers(resampled: dict[str, np.ndarray], a: str, b: str) -> dict[str, float]:
    if not resampled:
        return dict.fromkeys(("speakers_low", "speakers_high", "p_speakers"), np.nan)
    difference = resampled[a] - resampled[b]
    low, high = interval(difference)
    return {"speakers_low": low, "speakers_high": high, "p_speakers": p_value(difference)}


def _adjust(rows: list[dict]) -> pd.DataFrame:
    """The rows with Holm-corrected p-values of each test."""
    table = pd.DataFrame(rows)
    for test in TESTS if rows else ():
        known = table[test].notna().all()  # within a split, for all pairs or for none
        table[f"{test}_holm"] = multipletests(table[test], method="holm")[1] if known else np.nan
    return table
