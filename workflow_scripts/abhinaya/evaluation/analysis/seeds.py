"""How much of a score is luck? Its spread over trainings that differ in nothing but the seed."""

import pandas as pd

from abhinaya.evaluation.metrics import SCORED

COLUMNS = ["system", "split", "seeds", "mean", "sd", "lowest", "highest"]


def spread(scores: dict[str, list[dict]]) -> pd.DataFrame:
    """Macro-F1 of each system over its seeds.

    Args:
        scores: the contents of the `scores.json` of each system's replicas, one a seed.

    Returns:
        A row for each system and split that a replica has scores on (COLUMNS): how many `seeds`, their `mean`, their
        standard deviation `sd` (of a sample: n - 1; undefined for one), the `lowest` and the `highest`.
    """
    rows = []
    for system, replicas in scores.items():
        for split in SCORED:
            values = pd.Series([found[split]["macro_f1"] for found in replicas if found.get(split)], dtype=float)
            if len(values):
                rows.append([system, split, len(values), values.mean(), values.std(), values.min(), values.max()])
    return pd.DataFrame(rows, columns=COLUMNS)
