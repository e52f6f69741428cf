"""Majority vote over the members' labels (as in the paper)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, PROBABILITIES, VOTE, read_predictions
from abhinaya.labels import CLASSES, INDEX
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError

TieRule = Literal["label", "probabilities"]
MAX_LISTED = 3  # file names in a message


class MissingPredictions(UserError):
    """Some members did not predict every utterance; `missing` lists all (member, `FileName`) pairs."""

    def __init__(self, message: str, missing: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.missing = missing


def read_members(files: dict[str, Path], labels_may_differ: bool = False) -> dict[str, pd.DataFrame]:
    """Read each member's `preds.csv`; the tables have the same sorted index, `FileName`.

    Args:
        labels_may_differ: as for `read_predictions`.

    Raises:
        MissingPredictions: not all members predicted the same utterances.
        UserError: as `read_predictions`, or members disagree on a split.
    """
    tables = {member: read_predictions(path, labels_may_differ).set_index(KEY) for member, path in files.items()}
    utterances = pd.Index(sorted(set().union(*(table.index for table in tables.values()))), name=KEY)
    missing = {member: utterances.difference(table.index) for member, table in tables.items()}
    lines = [
        f"{files[member]}: predictions of {member} are missing for {describe(names)}"
        for member, names in missing.items()
        if len(names)
    ]
    if lines:
        raise MissingPredictions(
            "; ".join(lines) + "; predict with all members on the same manifest",
            [(member, name) for member, names in missing.items() for name in names],
        )
    tables = {member: table.loc[utterances] for member, table in tables.items()}
    first, *others = tables
    for member in others:
        differ = utterances[tables[member]["Split"] != tables[first]["Split"]]
        if len(differ):
            raise UserError(f"{files[member]}: Split differs from {files[first]} for {describe(differ)}; predict again")
    return tables


def vote(members: dict[str, pd.DataFrame], tie_break: str, tie_rule: TieRule = "label") -> pd.DataFrame:
    """The most frequent label of the members for each utterance.

    Ties are decided by `tie_break`. Rule ``label`` takes its label, even if it is not among the tied ones (2-2-1 with
    the tie-breaker alone; not specified in the paper). Rule ``probabilities`` takes the tied label with the highest
    probability of the tie-breaker (the first in class order if equal).

    Args:
        members: the aligned predictions of `read_members`, by name.
        tie_break: one of the members.

    Returns:
        A table of predictions sorted by `FileName`, with columns ``vote_{member}`` (letter) and ``tie`` (bool) last.
        `EmoClass` is the vote; `p_A … p_U` are the mean of the members' probabilities, whose maximum may differ from
        the vote.

    Raises:
        UserError: `tie_break` is not a member.
    """
    if tie_break not in members:
        raise UserError(f"tie-breaker {tie_break!r} is not a member; choose from {', '.join(members)}")
    any_member = next(iter(members.values()))
    letters = pd.DataFrame({f"{VOTE}{name}": table["EmoClass"] for name, table in members.items()})
    tied = _most_frequent(letters)
    tie = tied.sum(axis=1) > 1
    decider = members[tie_break]
    if tie_rule == "label":
        on_tie = decider["EmoClass"].map(INDEX).to_numpy()
    else:
        on_tie = np.where(tied, decider[list(PROBABILITIES)], -1).argmax(axis=1)
    winner = np.where(tie, on_tie, tied.argmax(axis=1))
    probabilities = np.mean([table[list(PROBABILITIES)] for table in members.values()], axis=0)
    return pd.concat(
        [
            any_member[["Split"]].assign(EmoClass=np.array(CLASSES)[winner]),
            pd.DataFrame(probabilities, index=any_member.index, columns=list(PROBABILITIES)),
            letters.assign(tie=tie),
        ],
        axis=1,
    ).reset_index()


def voters(voted: pd.DataFrame) -> list[str]:
    """The members whose votes are in a table from `vote`."""
    return [column.removeprefix(VOTE) for column in voted.columns if column.startswith(VOTE)]


def count_ties(voted: pd.DataFrame) -> dict[str, int]:
    """Counts in a table from `vote`: `utterances`, `ties`, and ties decided `outside` the tied labels."""
    tied = _most_frequent(voted[[f"{VOTE}{name}" for name in voters(voted)]])
    among = tied[np.arange(len(voted)), voted["EmoClass"].map(INDEX).to_numpy(int)]
    return {"utterances": len(voted), "ties": int((tied.sum(axis=1) > 1).sum()), "outside": int((~among).sum())}


def describe(names: pd.Index) -> str:
    """The number of utterances `names` and the first few of them, for a message."""
    return f"{len(names)} utterance{'s' if len(names) > 1 else ''} ({listed(names)})"


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(map(printable, names[:MAX_LISTED])) + (", …" if len(names) > MAX_LISTED else "")


def _most_frequent(letters: pd.DataFrame) -> np.ndarray:
    """The classes with most votes: (utterances, classes) bool from (utterances, members) letters."""
    votes = letters.to_numpy()[:, :, None] == np.array(CLASSES, dtype=object)
    counts = votes.sum(axis=1)
    return counts == counts.max(axis=1, keepdims=True)
