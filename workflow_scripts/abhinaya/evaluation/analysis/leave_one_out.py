"""The contribution of each member to an ensemble: the vote without it."""

import numpy as np
import pandas as pd

from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval
from abhinaya.evaluation.analysis.predictions import Ensemble, Evaluation, Split, encode

COLUMNS = [
    "ensemble", "member", "split", "n", "macro_f1", "agrees", "changed", "without", "effect", "low", "high",
]  # fmt: skip


def leave_one_out(evaluation: Evaluation, bootstrap: Bootstrap) -> pd.DataFrame:
    """Repeat the vote of each ensemble without each of its members.

    Without the tie-breaker, the remaining member with the best validation macro-F1 breaks ties (the first one if equal
    or if validation has no labels). Ensembles of one member are skipped.

    Returns:
        A row for each ensemble, member and split (COLUMNS): the member's own `macro_f1`; the share of utterances on
        which it `agrees` with the vote and on which the vote would be `changed` `without` it; macro-F1 of that vote;
        the member's `effect` on macro-F1 (vote - without) and its 95 % interval by the paired bootstrap.
    """
    quality = _quality(evaluation)
    rows = [
        _row(split, name, member, _without(ensemble, member, quality), bootstrap)
        for name, ensemble in evaluation.ensembles.items()
        for member in ensemble.members
        for split in evaluation.splits
        if len(ensemble.members) > 1
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(split: Split, name: str, member: str, others: Ensemble, bootstrap: Bootstrap) -> dict:
    vote, own = split.predicted[name], split.predicted[member]
    without = encode(others.vote(split.predictions)["EmoClass"])
    effect, drawn = bootstrap.difference(split.truth, vote, without, "member", split.name, name, member)
    low, high = interval(drawn)
    return {
        "ensemble": name,
        "member": member,
        "split": split.name,
        "n": len(vote),
        "macro_f1": split.macro_f1(own),
        "agrees": float(np.mean(own == vote)),
        "changed": float(np.mean(without != vote)),
        "without": split.macro_f1(without),
        "effect": effect,
        "low": low,
        "high": high,
    }


def _without(ensemble: Ensemble, member: str, quality: dict[str, float]) -> Ensemble:
    others = [name for name in ensemble.members if name != member]
    best = max(others, key=lambda name: quality.get(name, 0))
    return Ensemble(others, best if member == ensemble.tie_break else ensemble.tie_break, ensemble.tie_rule)


def _quality(evaluation: Evaluation) -> dict[str, float]:
    """Macro-F1 on validation by system; empty without labels."""
    return {
        name: split.macro_f1(predicted)
        for split in evaluation.splits
        if split.name == "validation"
        for name, predicted in split.predicted.items()
    }
