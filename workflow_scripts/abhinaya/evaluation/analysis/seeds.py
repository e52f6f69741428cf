"""Variation of the scores over training seeds."""

import pandas as pd

from abhinaya.evaluation.metrics import SCORED

COLUMNS = ["system", "split", "seeds", "mean", "sd", "lowest", "highest"]


def spread(scores: dict[str, list[dict]]) -> pd.DataFrame:
    """Macro-F1 of each system over its seeds.

    Args:
        scores: the contents of the `scores.json` of each system, one per seed.

    Returns:
        A row for each system and split with scores (COLUMNS): number of `seeds`, their `mean`, their
        standard deviation `sd` (of a sample: n - 1; undefined for one), the `lowest` and the `highest`.
    """
    rows = []
    for system, replicas in scores.items():
        for split in SCORED:
            values = pd.Series([replica[split]["macro_f1"] for replica in replicas if replica.get(split)], dtype=float)
            if len(values):
                rows.append([system, split, len(values), values.mean(), values.std(), values.min(), values.max()])
    return pd.DataFrame(rows, columns=COLUMNS)
