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
    validation = [split for split in evaluation.splits if split.name == "validation"]
    quality = {name: split.macro_f1(labels) for split in validation for name, labels in split.predicted.items()}
    rows = [
        _row(split, name, member, _without(ensemble, member, quality), bootstrap)
        for name, ensemble in evaluation.ensembles.items()
        for member in ensemble.members
        for split in evaluation.splits
        if len(ensemble.members) > 1
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(split: Split, name: str, member: str, others: Ensemble, bootstrap: Bootstrap) -> list:
    """The values of COLUMNS."""
    vote, own = split.predicted[name], split.predicted[member]
    without = encode(others.vote(split.predictions)["EmoClass"])
    effect, resampled = bootstrap.difference(split.truth, vote, without, "member", split.name, name, member)
    agrees, changed = np.mean(own == vote), np.mean(without != vote)
    scores = [split.macro_f1(own), agrees, changed, split.macro_f1(without)]
    return [name, member, split.name, len(vote), *scores, effect, *interval(resampled)]


def _without(ensemble: Ensemble, member: str, quality: dict[str, float]) -> Ensemble:
    others = [name for name in ensemble.members if name != member]
    best = max(others, key=lambda name: quality.get(name, 0))
    return Ensemble(others, best if member == ensemble.tie_break else ensemble.tie_break, ensemble.tie_rule)
