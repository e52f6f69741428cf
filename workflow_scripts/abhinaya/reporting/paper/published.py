"""The numbers that the paper published (Dutta et al., Interspeech 2025, arXiv 2505.18217).

`paper.csv` has them in per cent, as printed, each with its place in the paper; the functions return fractions (0 to 1),
None for a number that is unpublished or unknown. If a source is called inferred, a split or a vote's members follow
from the context. Table 2 is complete. The file only has numbers that a text attributes to the paper, so these are
incomplete:

- Table 1: the test scores of T1, T2 and ST1, and the baseline's on validation, if the paper prints them.
- Table 3 (F1 of each class): only fear, of S1, S2, T1 and the vote of all five.
- Table 4 (combinations I-IV): only one combination of four; members, tie-breakers and scores of the others are missing.
  A vote of three has 39.74 on the test set, but its members are unknown.
- Figure 2 (zero-shot LLMs): only the scores of two LLMs in the text.
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
SYSTEMS = ("table1", "section_4_5", "section_4_6")  # places with the macro-F1 of single systems
TABLES = ("table1", "table2", "table3", "table4", "section_4_5", "section_4_6", "zero_shot")
LOSSES = ("wce", "wfl", "vs")
NAMES = MEMBERS | {"baseline", "s2_7b", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}
LEARNING = NAMES - {"t1", "salmonn_zero_shot", "abhinaya", "abhinaya_at_deadline"}  # trained with a loss
T1 = "llama-3.3-70b"  # the LLM of T1
TRAINED = (6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948)  # in class order; from the authors' code
BALANCED = 326  # utterances of each class in the validation set (§ 4.1)
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
    """F1 of one class (Table 3) for a system or abhinaya, the vote of five."""
    return _fraction("table3", system, letter, split)


def vote_f1(members: Iterable[str], split: str) -> float | None:
    """Macro-F1 of the vote of these systems, in any order (Table 4, Table 1)."""
    voters = frozenset(members)
    if voters == MEMBERS:
        return macro_f1("abhinaya", split)
    return _fraction("table4", "+".join(voters), "macro_f1", split)


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
