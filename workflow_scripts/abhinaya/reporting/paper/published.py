"""The numbers that the paper published (Dutta et al., Interspeech 2025, arXiv 2505.18217), to show beside ours.

`paper.csv` holds them in per cent, as printed, each with its place in the paper; the functions return fractions (0..1),
None where nothing is published or known here. What a source calls inferred (a split, a vote's members) follows from the
context. Table 2 is complete. The file has only what was seen attributed to the paper, in its text or in notes about it;
so these are incomplete:

- Table 1: the test scores of T1, T2 and ST1 and the baseline's on validation, if it prints them at all.
- Table 3 (class-wise F1): fear alone, of S1, S2, T1 and the five's vote.
- Table 4 (combinations I-IV): one combination of four; members, tie-breakers and scores of the others are missing. One
  of three has 39.74 on the test set; without its members it cannot be looked up.
- Figure 2 (zero-shot LLMs): its values are unread; two LLMs' scores stand in the text.
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
SYSTEMS = ("table1", "section_4_5", "section_4_6")  # where single systems' macro-F1 is printed
TABLES = ("table1", "table2", "table3", "table4", "section_4_5", "section_4_6", "zero_shot")
LOSSES = ("wce", "wfl", "vs")
NAMES = MEMBERS | {"baseline", "s2_7b", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}
LEARNING = NAMES - {"t1", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}  # by a loss
T1 = "llama-3.3-70b"  # the LLM behind it
TRAINED = (6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948)  # in class order; from the authors' code
BALANCED = 326  # utterances of each class on which models are chosen (§ 4.1)
FILES = {"Train": 84260, "Development": 31961, "Test3": 3200}  # § 4.1, all labels, by the corpus's name of the split


def macro_f1(system: str, split: str) -> float | None:
    """Macro-F1 of a system (Table 1, §§ 4.5, 4.6).

    Args:
        system: baseline, s1, s2, s2_7b, t1, t2, st1, salmonn_zero_shot; abhinaya, the vote of five; or
            abhinaya_at_deadline, the same with ST1 after three of its twenty epochs.
    """
    scores = (_fraction(table, system, "macro_f1", split) for table in SYSTEMS)
    return next((score for score in scores if score is not None), None)


def loss_f1(system: str, loss: str, split: str = "validation") -> float | None:
    """Macro-F1 of a system trained with a loss: wce, wfl or vs (Table 2)."""
    return _fraction("table2", system, loss, split)


def class_f1(system: str, letter: str, split: str) -> float | None:
    """F1 of one class (Table 3) for a system or abhinaya, the vote of five."""
    return _fraction("table3", system, letter, split)


def vote_f1(members: Iterable[str], split: str) -> float | None:
    """Macro-F1 of the vote of these systems, in any order (Table 4, Table 1)."""
    voters = frozenset(members)
    if voters == MEMBERS:
        return macro_f1("abhinaya", split)
    return _fraction("table4", "+".join(voters), "macro_f1", split)


def zero_shot_f1(model: str, split: str) -> float | None:
    """Macro-F1 of an LLM that labels transcripts untrained.

    Args:
        model: as the hub names it; the organisation, case and an ending -Instruct, which the paper does not always
            tell, make no difference.
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
        {(table, row, column, split): per cent}, rows spelt as `_row` does.

    Raises:
        UserError: no such CSV; a row that no table here would show, a number out of range, a number given twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).strip()}); quote a source with commas") from None
    if not isinstance(table.index, pd.RangeIndex):  # the first row is too long: pandas takes a column for its index
        raise UserError(f"{path}: row 2: more fields than columns; quote a source with commas")
    if list(table.columns) != COLUMNS:
        raise UserError(f"{path}: its columns are {', '.join(table.columns)}; they must be {', '.join(COLUMNS)}")
    found: dict[tuple[str, str, str, str], float] = {}
    for line, (place, row, column, split, percent, _) in enumerate(table.to_numpy().tolist(), start=2):
        if problem := _problem(place, row, column, split, percent):
            raise UserError(f"{path}: row {line}: {problem}")
        key = (place, _row(place, row), column, split)
        alike = [(other, *key[1:]) for other in (SYSTEMS if place in SYSTEMS else [place])]  # one is shown of them
        if not found.keys().isdisjoint(alike):
            raise UserError(f"{path}: row {line}: a second number for {row}, {column}, {split}; delete one")
        found[key] = float(percent)
    return found


def _problem(table: str, row: str, column: str, split: str, percent: str) -> str | None:
    """What is wrong with a row of `paper.csv`, and the fix."""
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
    """The one spelling of a row that may have several: a vote's members in any order, a model with its organisation."""
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
