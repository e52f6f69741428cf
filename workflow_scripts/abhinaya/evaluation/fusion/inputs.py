"""The labelled utterances of a corpus that a fusion is fitted on."""

from collections.abc import Mapping

import pandas as pd

from abhinaya.data.schemas import DEVELOPMENT, KEY
from abhinaya.evaluation.fusion.cross_fitting import groups_of
from abhinaya.evaluation.fusion.steps import Fusion
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

FIT_ON = {"validation": ("validation",), "development": ("validation", DEVELOPMENT)}  # splits


def labelled(manifest: pd.DataFrame, members: Mapping[str, pd.DataFrame], fit_on: str, seed: int) -> Fusion:
    """The members with the utterances to fit on.

    Args:
        manifest: as from `schemas.read_manifest`.
        members: aligned predictions by name, as from `voting.read_members`.
        fit_on: a key of `FIT_ON`.
        seed: of the folds.

    Raises:
        UserError: a member has no prediction of an utterance, or there are too few labels to fit on.
    """
    known = manifest[manifest["EmoClass"].isin(CLASSES)]
    rows = known[known["split"].isin(FIT_ON[fit_on])].set_index(KEY).sort_index()
    missing = rows.index.difference(next(iter(members.values())).index)
    if len(missing):
        first = rows.loc[missing[0], "split"]
        raise UserError(
            f"--preds: {len(missing)} utterances of the splits that are fitted on are not predicted, such as "
            f"{missing[0]} ({first}); predict again on this manifest"
        )
    if rows["EmoClass"].nunique() < 2:
        raise UserError(
            f"fit_on {fit_on}: {len(rows)} labelled utterances of {rows['EmoClass'].nunique()} classes; a fusion needs "
            "at least two classes to fit and compare; label more, or use `rule: vote`"
        )
    seen = {*known.loc[known["split"] == "train", "EmoClass"], *rows["EmoClass"]}
    groups, folds_by = groups_of(rows["SpkrID"])
    return Fusion(dict(members), [letter for letter in CLASSES if letter in seen], rows, groups, seed, folds_by)


def describe(fusion: Fusion) -> str:
    """A sentence on what is fitted on, and what is missing in it."""
    counts = " and ".join(f"{count} of {split}" for split, count in fusion.counts.items())
    groups = len(set(fusion.groups))
    text = f"fitted on {len(fusion.rows)} utterances ({counts}), folds by {fusion.folds_by} ({groups} in all)"
    return f"{text}; none of class {', '.join(fusion.absent)}" if fusion.absent else text
