"""A majority vote over the members' labels (as in the paper)."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, PROBABILITIES, read_predictions
from abhinaya.labels import CLASSES, INDEX
from abhinaya.runtime.errors import UserError

TieRule = Literal["label", "probabilities"]
VOTE = "vote_"  # + member: the column that holds the member's letter
NAMED = 3  # FileNames that an error spells out


class MissingPredictions(UserError):
    """Members did not predict every utterance; `missing` lists (member, `FileName`), all of them."""

    def __init__(self, message: str, missing: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.missing = missing


def read_members(files: dict[str, Path]) -> dict[str, pd.DataFrame]:
    """Read each member's `preds.csv`; all come back indexed by `FileName` in the same, sorted order.

    Raises:
        MissingPredictions: utterances that another member predicted and this one did not.
        UserError: as `read_predictions`; members that disagree on a split.
    """
    tables = {member: read_predictions(path).set_index(KEY) for member, path in files.items()}
    utterances = pd.Index(sorted(set().union(*(table.index for table in tables.values()))), name=KEY)
    missing = {member: utterances.difference(table.index) for member, table in tables.items()}
    lines = [
        f"{files[member]}: no prediction of {member} for {some(names)}"
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
            raise UserError(f"{files[member]}: another Split than {files[first]} for {some(differ)}; predict again")
    return tables


def vote(members: dict[str, pd.DataFrame], tie_break: str, tie_rule: TieRule = "label") -> pd.DataFrame:
    """The label that most members chose, for each utterance.

    Without a unique most frequent label, `tie_break` decides. Rule ``label`` takes its label, also when that is not
    among the tied ones (2-2-1 with the tie-breaker alone; the paper is silent on it). Rule ``probabilities`` takes the
    tied label that the tie-breaker holds likeliest (the first in class order when equally likely).

    Args:
        members: the aligned predictions of `read_members`, by name.
        tie_break: one of the members.

    Returns:
        A table of predictions sorted by `FileName`, with columns ``vote_{member}`` (letter) and ``tie`` (bool) after
        the fixed ones. `EmoClass` is the vote; `p_A … p_U` are the mean of the members' probabilities, whose maximum
        need not be the vote.

    Raises:
        UserError: `tie_break` is no member.
    """
    if tie_break not in members:
        raise UserError(f"tie-breaker {tie_break!r} is no member; choose from {', '.join(members)}")
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
    """The members whose votes a table of `vote` holds."""
    return [column.removeprefix(VOTE) for column in voted.columns if column.startswith(VOTE)]


def count_ties(voted: pd.DataFrame) -> dict[str, int]:
    """How many `utterances` and `ties` a table of `vote` holds, and how many ties went `outside` the tied labels."""
    tied = _most_frequent(voted[[f"{VOTE}{name}" for name in voters(voted)]])
    among = tied[np.arange(len(voted)), voted["EmoClass"].map(INDEX).to_numpy(int)]
    return {"utterances": len(voted), "ties": int((tied.sum(axis=1) > 1).sum()), "outside": int((~among).sum())}


def submission(voted: pd.DataFrame) -> pd.DataFrame:
    """The test utterances as the challenge's leaderboard takes them: `FileName`, `EmoClass`."""
    return voted.loc[voted["Split"] == "test", [KEY, "EmoClass"]]


def some(names: pd.Index) -> str:
    """How many utterances `names` are and the first few of them, for an error's line."""
    listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"{len(names)} utterance{'s' if len(names) > 1 else ''} ({listed})"


def _most_frequent(letters: pd.DataFrame) -> np.ndarray:
    """Which classes have most votes: (utterances, members) letters become (utterances, classes) bool."""
    votes = letters.to_numpy()[:, :, None] == np.array(CLASSES, dtype=object)
    counts = votes.sum(axis=1)
    return counts == counts.max(axis=1, keepdims=True)
