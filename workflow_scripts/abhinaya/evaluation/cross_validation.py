"""Scores of a cross-validation: each fold, their mean and spread, and all folds pooled."""

from collections.abc import Mapping

import pandas as pd
from rich.table import Table
from sklearn.metrics import confusion_matrix

from abhinaya.data.schemas import KEY
from abhinaya.evaluation.metrics import pair, score_confusion
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

# Names as in EmoBox and SUPERB, and our names of the scores.
SCORES = {"UA": "uar", "WA": "accuracy", "micro_F1": "accuracy", "macro_F1": "macro_f1"}


def pooled(manifests: Mapping[int, pd.DataFrame], predictions: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """The labelled test utterances of all folds with the predictions of each system.

    Args:
        manifests: of each fold, as from `schemas.read_manifest`.
        predictions: of each system and fold, as from `schemas.read_predictions`.

    Returns:
        `system`, `fold`, `FileName`, `truth`, `predicted`.

    Raises:
        UserError: predictions and manifest have different utterances; a fold has no labelled test utterance.
    """
    parts = []
    for (system, fold), table in predictions.items():
        pairs = pair(manifests[fold], table, f"{system}, fold {fold}")
        pairs = pairs[(pairs["split"] == "test") & pairs["truth"].isin(CLASSES)]
        if pairs.empty:
            raise UserError(f"fold {fold}: no labelled test utterance; label some, or change corpus.split")
        part = pairs.drop(columns="split").rename_axis(KEY).reset_index()
        parts.append(part.assign(system=system, fold=fold))
    return pd.concat(parts, ignore_index=True)[["system", "fold", KEY, "truth", "predicted"]]


def by_fold(pairs: pd.DataFrame) -> pd.DataFrame:
    """`system`, `fold`, `n` and the scores of each fold. Micro-F1 equals WA, as each utterance has one label."""
    groups = pairs.groupby(["system", "fold"], sort=False)
    rows = [{"system": system, "fold": fold, **_scores(rows)} for (system, fold), rows in groups]
    return pd.DataFrame(rows)


def summarise(pairs: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Number of folds and utterances of each system; mean, standard deviation and pooled value of its scores."""
    rows = []
    for system, own in folds.groupby("system", sort=False):
        whole = _scores(pairs[pairs["system"] == system])
        row = {"system": system, "folds": len(own), "n": whole["n"]}
        for name in SCORES:
            row |= {
                f"{name}_mean": own[name].mean(),
                f"{name}_sd": own[name].std(ddof=1),
                f"{name}_pooled": whole[name],
            }
        rows.append(row)
    return pd.DataFrame(rows)


def as_table(summary: pd.DataFrame) -> Table:
    """Printable: mean ± standard deviation over the folds, and the score of all utterances together, in per cent."""
    table = Table("", "n", *(name.replace("_", "-") for name in SCORES), title="Mean ± sd of the folds (all pooled), %")
    for row in summary.to_dict("records"):
        table.add_row(str(row["system"]), f"{row['n']:,}", *(_cell(row, name) for name in SCORES))
    return table


def as_markdown(summary: pd.DataFrame) -> str:
    names = [name.replace("_", "-") for name in SCORES]
    lines = [f"| system | n | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
    for row in summary.to_dict("records"):
        lines.append(f"| {row['system']} | {row['n']} | {' | '.join(_cell(row, name) for name in SCORES)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict, name: str) -> str:
    mean, spread, whole = (100 * row[f"{name}_{part}"] for part in ("mean", "sd", "pooled"))
    return f"{mean:.1f} ± {spread:.1f} ({whole:.1f})"


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    point = score_confusion(confusion_matrix(rows["truth"], rows["predicted"], labels=list(CLASSES)))
    return {"n": len(rows), **{name: float(point[ours]) for name, ours in SCORES.items()}}
