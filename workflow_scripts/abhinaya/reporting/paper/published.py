"""The numbers that the paper published (Dutta et al., Interspeech 2025, arXiv 2505.18217).

`paper.csv` has every macro-F1 and F1 of the paper's tables and text in per cent, as printed, each with its place; the
functions return fractions (0 to 1), None for a number that the paper does not have. The paper has no test scores of T1,
T2 and ST1, and no validation score of the baseline. Of Figure 2, an image, only the two scores in the text are here.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from abhinaya.evaluation.metrics import SCORED
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

COLUMNS = ["table", "row", "column", "split", "percent", "source"]
MEMBERS = frozenset({"s1", "s2", "t1", "t2", "st1"})  # of the whole system
EARLY_ST1 = "st1_3_epochs"  # ST1 after three of its twenty epochs: a member of the vote submitted before the deadline
WHOLE = {MEMBERS: "abhinaya", MEMBERS - {"st1"} | {EARLY_ST1}: "abhinaya_at_deadline"}
TIE_BREAK = "s2"  # of votes with this member (§ 4.2)
OTHER_TIE_BREAKS = {frozenset({"s1", "t2", "st1"}): "st1"}  # combination II (§ 4.8)
SYSTEMS = ("table1", "section_4_5", "section_4_6")  # places with the macro-F1 of single systems
TABLES = ("table1", "table2", "table3", "table4", "section_4_5", "section_4_6", "zero_shot")
LOSSES = ("wce", "wfl", "vs")
NAMES = MEMBERS | {"baseline", "s2_7b", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}
LEARNING = NAMES - {"t1", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}  # trained with a loss
T1 = "llama-3.3-70b"  # the LLM of T1
TRAINED = (6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948)  # in class order; from the authors' code
BALANCED = 326  # utterances of each class in the validation set (§ 4.1), the authors' own draw
FILES = {"Train": 84260, "Development": 31961, "Test3": 3200}  # § 4.1, with any label, by partition


def macro_f1(system: str, split: str) -> float | None:
    """Macro-F1 of a system (Table 1, §§ 4.5, 4.6).

    Args:
        system: baseline, s1, s2, s2_7b, t1, t2, st1, salmonn_zero_shot; abhinaya, the vote of five; or
            abhinaya_at_deadline, the same vote with ST1 after three of its twenty epochs.
    """
    scores = (_fraction(table, system, "macro_f1", split) for table in SYSTEMS)
    return next((score for score in scores if score is not None), None)


def loss_f1(system: str, loss: str, split: str = "validation") -> float | None:
    """Macro-F1 of a system trained with a loss: wce, wfl or vs (Table 2)."""
    return _fraction("table2", system, loss, split)


def class_f1(system: str, letter: str, split: str) -> float | None:
    """F1 of one class (Table 3) for a system or abhinaya, the vote of all five."""
    return _fraction("table3", system, letter, split)


def vote_f1(members: Iterable[str], split: str, tie_break: str | None = None) -> float | None:
    """Macro-F1 of a vote (Table 4, Table 1), with arguments as for `vote_name`."""
    name = vote_name(members, tie_break)
    if name is None:
        return None
    return macro_f1(name, split) if name in WHOLE.values() else _fraction("table4", name, "macro_f1", split)


def vote_name(members: Iterable[str], tie_break: str | None = None) -> str | None:
    """The paper's name of a vote: abhinaya, abhinaya_at_deadline, or its members joined by + (Table 4).

    Args:
        members: in any order; `EARLY_ST1` is ST1 after three epochs.
        tie_break: the member that decides ties; None if it is unknown.

    Returns:
        None if another member decides ties in the paper.
    """
    voters = frozenset(members)
    paper = OTHER_TIE_BREAKS.get(voters, TIE_BREAK if TIE_BREAK in voters else None)
    if None not in (tie_break, paper) and tie_break != paper:
        return None
    return WHOLE.get(voters, "+".join(sorted(voters)))


def zero_shot_f1(model: str, split: str) -> float | None:
    """Macro-F1 of an LLM that labels transcripts zero-shot.

    Args:
        model: its name on the hub; the organisation, the case and an ending -Instruct are ignored.
    """
    if _row("zero_shot", model) == T1:
        return macro_f1("t1", split)
    return _fraction("zero_shot", model, "macro_f1", split)


def counts(split: str) -> dict[str, int] | None:
    """Utterances of each class with one of the eight labels; None for test, whose labels are unpublished."""
    return {
        "train": dict(zip(CLASSES, TRAINED, strict=True)),
        "validation": dict.fromkeys(CLASSES, BALANCED),
    }.get(split)


def read(path: Path) -> dict[tuple[str, str, str, str], float]:
    """The numbers of a file like `paper.csv`.

    Returns:
        {(table, row, column, split): per cent}, with rows as from `_row`.

    Raises:
        UserError: the file is missing or no CSV with these columns; no table would show a row; a number is out of range
            or repeated.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).strip()}); quote a source with commas") from None
    if not isinstance(table.index, pd.RangeIndex):  # the first row is too long: pandas uses its first field as index
        raise UserError(f"{path}: row 2: more fields than columns; quote a source with commas")
    if list(table.columns) != COLUMNS:
        raise UserError(f"{path}: its columns are {', '.join(table.columns)}; they must be {', '.join(COLUMNS)}")
    numbers: dict[tuple[str, str, str, str], float] = {}
    for line, (place, row, column, split, percent, _) in enumerate(table.to_numpy().tolist(), start=2):
        if problem := _problem(place, row, column, split, percent):
            raise UserError(f"{path}: row {line}: {problem}")
        key = (place, _row(place, row), column, split)
        same = [(other, *key[1:]) for other in (SYSTEMS if place in SYSTEMS else [place])]  # places of one number
        if not numbers.keys().isdisjoint(same):
            raise UserError(f"{path}: row {line}: a second number for {row}, {column}, {split}; delete one")
        numbers[key] = float(percent)
    return numbers


def _problem(table: str, row: str, column: str, split: str, percent: str) -> str | None:
    """What is wrong with a row of `paper.csv` and its fix; None for a valid row."""
    columns = {"table2": LOSSES, "table3": CLASSES}.get(table, ("macro_f1",))
    voters = row.split("+")
    if table not in TABLES:
        return f"no table {table!r}; write one of {', '.join(TABLES)}"
    if column not in columns:
        return f"{table} has no column {column!r}; write one of {', '.join(columns)}"
    if split not in SCORED:
        return f"no split {split!r}; write one of {', '.join(SCORED)}"
    if table == "table4" and not (len(set(voters)) == len(voters) and set(voters) < MEMBERS):
        return f"no vote {row!r}; join some of {', '.join(sorted(MEMBERS))} by +; all five are abhinaya in table1"
    if table == "zero_shot" and _row(table, row) in ("", T1):
        return f"no model, or T1's ({T1}); name another as its hub does; T1 is t1 in table1"
    names = LEARNING if table == "table2" else NAMES
    if table not in ("table4", "zero_shot") and row not in names:
        return f"no system {row!r} in {table}; write one of {', '.join(sorted(names))}"
    if not re.fullmatch(r"\d+(\.\d*)?", percent) or float(percent) > 100:
        return f"{percent!r} is not per cent; write a number from 0 to 100, like 34.43"
    return None


def _row(table: str, row: str) -> str:
    """The row in a unique form: the members of a vote sorted, the name of a model as in `zero_shot_f1`."""
    if table == "table4":
        return "+".join(sorted(row.split("+")))
    if table == "zero_shot":
        return row.rpartition("/")[2].casefold().removesuffix("-instruct")
    return row


def _fraction(table: str, row: str, column: str, split: str) -> float | None:
    percent = _published().get((table, _row(table, row), column, split))
    return None if percent is None else percent / 100


@cache
def _published() -> dict[tuple[str, str, str, str], float]:
    return read(Path(__file__).with_name("paper.csv"))
