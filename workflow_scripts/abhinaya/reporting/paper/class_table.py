"""F1 of each emotion (the paper's Table 3)."""

from abhinaya.evaluation.metrics import SCORED
from abhinaya.labels import CLASSES
from abhinaya.reporting.paper import published
from abhinaya.reporting.paper.compare import (
    MATCHING_NOTE,
    VALUES,
    ComparisonTable,
    Value,
    corpus_note,
    mark_best,
    n_scored,
    records_frame,
    scoring_note,
)
from abhinaya.reporting.paper.inputs import Inputs, require
from abhinaya.reporting.paper.system_tables import published_macro_f1
from abhinaya.reporting.table import Cell, Table, emotion, percent
from abhinaya.runtime.errors import UserError

MEAN = "macro-F1"
MEAN_TOLERANCE = 1e-6  # between a stored macro-F1 and the mean of the stored F1
PRINTED_TOLERANCE = 0.0001001  # between a published macro-F1 and the mean of published F1, all rounded


def table3(inputs: Inputs) -> ComparisonTable:
    """F1 of each class and their mean, for the systems of Table 1.

    Raises:
        UserError: `tables.components` is empty or has a system without scores; a system's macro-F1 is not the mean of
            its F1.
    """
    names = inputs.settings.components
    require(names, "tables.components", "the systems and ensembles to show")
    systems = inputs.scores_of(names, "tables.components")
    lines: list[list[Cell]] = []
    records: list[dict[str, object]] = []
    notes = []
    for split in SCORED:
        values = {name: _values(inputs, name, scores, split) for name, scores in systems.items()}
        values = {
            name: columns for name, columns in values.items() if systems[name].get(split) or _has_classes(columns)
        }
        lines += _lines(values, split)
        records += [
            {"system": name, "split": split, "measure": "macro_f1" if column == MEAN else "f1"}
            | {"class": None if column == MEAN else column, "n": n_scored(systems[name], split)}
            | score.record()
            for name, columns in values.items()
            for column, score in columns.items()
        ]
        notes += [note for name, columns in values.items() if (note := _published_mean(name, split, columns))]
    caption = (
        "F1 (%) of each emotion and, in the last column, their mean, the macro-F1. The lines below have the paper's "
        "values, if it has F1 of emotions, and whether they lie in our intervals."
    )
    return ComparisonTable(
        "The paper's Table 3: F1 of each emotion",
        f"{caption} {scoring_note(list(systems.values()))}",
        Table(["system", *map(emotion, CLASSES), MEAN], lines),
        records_frame(records, ["system", "split", "measure", "class", "n", *VALUES]),
        [MATCHING_NOTE, *notes, corpus_note(inputs.summary)],
    )


def _values(inputs: Inputs, name: str, scores: dict, split: str) -> dict[str, Value]:
    """Our values and the paper's by class; the macro-F1 is last."""
    of_split = scores.get(split) or {}
    f1 = of_split.get("per_class_f1", {})
    intervals = of_split.get("per_class_f1_interval") or {}  # scores of earlier versions have none
    _check_mean(name, split, of_split)
    paper = _paper_name(inputs, name)
    paper_f1 = {letter: published.class_f1(paper, letter, split) if paper else None for letter in CLASSES}
    # One decimal place, so that the table fits on the page. The macro-F1 has two, as in Table 1.
    values = {letter: Value(f1.get(letter), intervals.get(letter), paper_f1[letter], digits=1) for letter in CLASSES}
    mean = Value(of_split.get("macro_f1"), of_split.get("macro_f1_interval"), published_macro_f1(inputs, name)(split))
    return {**values, MEAN: mean}


def _paper_name(inputs: Inputs, name: str) -> str | None:
    """The paper's name of a system or ensemble; None for an ensemble that it does not have."""
    members = inputs.members(name)
    return published.vote_name(members, inputs.tie_break(name)) if members else name


def _has_classes(columns: dict[str, Value]) -> bool:
    """Whether the paper has F1 of a class; a macro-F1 alone is already in Table 1."""
    return any(columns[letter].paper is not None for letter in CLASSES)


def _lines(values: dict[str, dict[str, Value]], split: str) -> list[list[Cell]]:
    """A line with our values and, if the paper has F1 of a class, lines with its values and the verdicts."""
    names = [*CLASSES, MEAN]
    best = {column: mark_best([("", columns[column].value) for columns in values.values()]) for column in names}
    lines = []
    for row, (name, scores) in enumerate(values.items()):
        lines.append([Cell(name, split), *[scores[column].ours(best[column][row]) for column in names]])
        if _has_classes(scores):
            lines.append([Cell(f"{name}: paper"), *[Cell(percent(scores[column].paper)) for column in names]])
            lines.append([Cell(f"{name}: in our interval"), *[scores[column].verdict() for column in names]])
    return lines


def _check_mean(name: str, split: str, of_split: dict) -> None:
    known = [value for value in of_split.get("per_class_f1", {}).values() if value is not None]
    mean = sum(known) / len(known) if known else None
    if of_split and (mean is None or abs(mean - of_split["macro_f1"]) > MEAN_TOLERANCE):
        raise UserError(
            f"{name}: the mean F1 of the classes on {split} is {percent(mean)} %, but macro-F1 is "
            f"{percent(of_split['macro_f1'])} %; score its predictions again"
        )


def _published_mean(name: str, split: str, columns: dict[str, Value]) -> str | None:
    """A note whether the paper's macro-F1 is the mean of its eight F1; None if one of them is missing.

    The mean has a third decimal, since with two it could contradict the published value and still agree with it.
    """
    paper = [columns[letter].paper for letter in CLASSES]
    total = columns[MEAN].paper
    if total is None or None in paper:
        return None
    mean = sum(paper) / len(paper)
    verdict = "equal within" if abs(mean - total) <= PRINTED_TOLERANCE else "different by more than"
    return (
        f"{name} on {split}: the mean of the paper's eight F1 is {100 * mean:.3f}, its macro-F1 {percent(total)}: "
        f"{verdict} rounding."
    )
