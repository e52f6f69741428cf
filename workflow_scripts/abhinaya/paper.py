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

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from abhinaya.labels import CLASSES

MEMBERS = frozenset({"s1", "s2", "t1", "t2", "st1"})  # of the whole system
SYSTEMS = ("table1", "section_4_5", "section_4_6")  # where single systems' macro-F1 is printed
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
    return _fraction("table4", "+".join(sorted(voters)), "macro_f1", split)


def zero_shot_f1(model: str, split: str) -> float | None:
    """Macro-F1 of an LLM that labels transcripts untrained.

    Args:
        model: as the hub names it; the organisation, case and an ending -Instruct, which the paper does not always
            tell, make no difference.
    """
    return _fraction("zero_shot", model.rpartition("/")[2].casefold().removesuffix("-instruct"), "macro_f1", split)


def counts(split: str) -> dict[str, int] | None:
    """Utterances of each class with one of the eight labels; None for test, whose labels are unpublished."""
    return {
        "train": dict(zip(CLASSES, TRAINED, strict=True)),
        "validation": dict.fromkeys(CLASSES, BALANCED),
    }.get(split)


def _fraction(table: str, row: str, column: str, split: str) -> float | None:
    percent = _published().get((table, row, column, split))
    return None if percent is None else percent / 100


@cache
def _published() -> dict[tuple[str, str, str, str], float]:
    """{(table, row, column, split): per cent}."""
    published = pd.read_csv(Path(__file__).with_name("paper.csv"))
    return published.set_index(["table", "row", "column", "split"], verify_integrity=True)["percent"].to_dict()
