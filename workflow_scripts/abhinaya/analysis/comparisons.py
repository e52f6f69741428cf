"""Is one system better than another? A paired bootstrap of macro-F1 and McNemar's test for each pair."""

from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from abhinaya.analysis.bootstrap import Bootstrap, interval, p_value
from abhinaya.analysis.evaluation import Evaluation, Split
from abhinaya.scoring import LEVEL

EXACT_BELOW = 25  # utterances that only one of the two has right
TESTS = ("p_bootstrap", "p_mcnemar")
COLUMNS = [
    "split", "a", "b", "n", "difference", "low", "high", "p_bootstrap", "p_bootstrap_holm",
    "only_a_right", "only_b_right", "p_mcnemar", "p_mcnemar_holm",
]  # fmt: skip


def compare(evaluation: Evaluation, bootstrap: Bootstrap) -> pd.DataFrame:
    """Compare all systems and ensembles pairwise on each split.

    Returns:
        A row for each split and pair (COLUMNS): `difference` of macro-F1, a - b, with its 95 % interval and p-value
        (`bootstrap.p_value`); how many utterances `only_a_right` and `only_b_right`, with McNemar's p-value (exact for
        fewer than 25 of them, else chi-square with continuity correction). ``…_holm`` is the p-value after Holm's
        correction for all pairs of the split.
    """
    tables = [_adjust([_pair(split, *pair, bootstrap) for pair in _pairs(split)]) for split in evaluation.splits]
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def resamples_needed(evaluation: Evaluation) -> int:
    """The fewest resamples B with which the smallest bootstrap p-value, 1 / (B + 1), can stay below 5 % after Holm.

    Holm's correction multiplies the smallest of them by the number of pairs of the split.
    """
    return max((len(_pairs(split)) * 100 // (100 - LEVEL) for split in evaluation.splits), default=0)


def _pairs(split: Split) -> list[tuple[str, str]]:
    return list(combinations(split.predictions, 2))


def _pair(split: Split, a: str, b: str, bootstrap: Bootstrap) -> dict:
    of_a, of_b = split.predicted[a], split.predicted[b]
    difference, drawn = bootstrap.difference(split.truth, of_a, of_b, "comparison", split.name, a, b)
    low, high = interval(drawn)
    right_a, right_b = of_a == split.truth, of_b == split.truth
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    both, none = int((right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    test = mcnemar(np.array([[both, only_a], [only_b, none]]), exact=only_a + only_b < EXACT_BELOW, correction=True)
    return {
        "split": split.name,
        "a": a,
        "b": b,
        "n": len(split.truth),
        "difference": difference,
        "low": low,
        "high": high,
        "p_bootstrap": p_value(difference, drawn),
        "only_a_right": only_a,
        "only_b_right": only_b,
        "p_mcnemar": float(test.pvalue),
    }


def _adjust(rows: list[dict]) -> pd.DataFrame:
    """The rows with Holm's p-values beside those of each test."""
    table = pd.DataFrame(rows)
    for test in TESTS if rows else ():
        table[f"{test}_holm"] = multipletests(table[test], method="holm")[1]
    return table
