"""F1 of each emotion (the paper's Table 3)."""

from abhinaya.evaluation.metrics import SCORED
from abhinaya.labels import CLASSES
from abhinaya.reporting.paper import published
from abhinaya.reporting.paper.compare import MATCHED, VALUES, Made, Value, best_of, corpus_note, frame, how_drawn, size
from abhinaya.reporting.paper.inputs import Inputs, needs
from abhinaya.reporting.paper.system_tables import published_macro_f1
from abhinaya.reporting.table import Cell, Table, emotion, percent
from abhinaya.runtime.errors import UserError

MEAN = "macro-F1"
AGREE = 1e-6  # between a stored macro-F1 and the mean of the stored F1
PRINTED = 0.0001001  # between a mean of published numbers and a published one: all may be off by 0.005 points


def table3(inputs: Inputs) -> Made:
    """F1 of each class and their mean, for the systems of Table 1.

    Raises:
        UserError: `tables.components` is empty or names a system without scores; a system's F1 do not average to its
            macro-F1.
    """
    names = inputs.settings.components
    needs(names, "tables.components", "the systems and ensembles to show")
    systems = inputs.chosen(names, "tables.components")
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
            | {"class": None if column == MEAN else column, "n": size(systems[name], split)}
            | one.record()
            for name, columns in values.items()
            for column, one in columns.items()
        ]
        notes += [note for name, columns in values.items() if (note := _published_mean(name, split, columns))]
    caption = (
        "F1 (%) of each emotion and, last, their mean, the macro-F1. Where the paper has F1 of emotions, its values "
        "and whether they lie in our intervals stand below ours."
    )
    return Made(
        "The paper's Table 3: F1 of each emotion",
        f"{caption} {how_drawn(list(systems.values()))}",
        Table(["system", *map(emotion, CLASSES), MEAN], lines),
        frame(records, ["system", "split", "measure", "class", "n", *VALUES]),
        [MATCHED, *notes, corpus_note(inputs.summary)],
    )


def _values(inputs: Inputs, name: str, scores: dict, split: str) -> dict[str, Value]:
    """Ours and the paper's by class, and last the macro-F1."""
    found = scores.get(split) or {}
    f1 = found.get("per_class_f1", {})
    intervals = found.get("per_class_f1_interval") or {}  # scores of earlier versions have none
    _check_mean(name, split, found)
    theirs = _paper_name(inputs, name)
    printed = {letter: published.class_f1(theirs, letter, split) if theirs else None for letter in CLASSES}
    # One digit: the page is no wider. The macro-F1's interval has two, as in Table 1.
    values = {letter: Value(f1.get(letter), intervals.get(letter), printed[letter], digits=1) for letter in CLASSES}
    mean = Value(found.get("macro_f1"), found.get("macro_f1_interval"), published_macro_f1(inputs, name)(split))
    return {**values, MEAN: mean}


def _paper_name(inputs: Inputs, name: str) -> str | None:
    """The paper's name for a system, or for an ensemble of all its voters; other votes' classes are unpublished."""
    members = inputs.members(name)
    if members is None:
        return name
    return "abhinaya" if frozenset(members) == published.MEMBERS else None


def _has_classes(columns: dict[str, Value]) -> bool:
    """Whether the paper has F1 of a class; its macro-F1 stands in Table 1, too."""
    return any(columns[letter].paper is not None for letter in CLASSES)


def _lines(values: dict[str, dict[str, Value]], split: str) -> list[list[Cell]]:
    """Ours, and where the paper has something, its values and the verdicts, as lines of their own."""
    columns = [*CLASSES, MEAN]
    best = {column: best_of([("", one[column].value) for one in values.values()]) for column in columns}
    lines = []
    for row, (name, found) in enumerate(values.items()):
        lines.append([Cell(name, split), *[found[column].ours(best[column][row]) for column in columns]])
        if _has_classes(found):
            lines.append([Cell(f"{name}: paper"), *[Cell(percent(found[column].paper)) for column in columns]])
            lines.append([Cell(f"{name}: in our interval"), *[found[column].verdict() for column in columns]])
    return lines


def _check_mean(name: str, split: str, found: dict) -> None:
    known = [value for value in found.get("per_class_f1", {}).values() if value is not None]
    mean = sum(known) / len(known) if known else None
    if found and (mean is None or abs(mean - found["macro_f1"]) > AGREE):
        raise UserError(
            f"{name}: F1 of the classes on {split} average to {percent(mean)} %, but macro-F1 is "
            f"{percent(found['macro_f1'])} %; score its predictions again"
        )


def _published_mean(name: str, split: str, columns: dict[str, Value]) -> str | None:
    """Whether the paper's eight columns average to its macro-F1; None unless it has all of them."""
    theirs = [columns[letter].paper for letter in CLASSES]
    total = columns[MEAN].paper
    if total is None or None in theirs:
        return None
    mean = sum(theirs) / len(theirs)
    verdict = "as printed" if abs(mean - total) <= PRINTED else f"but {percent(total)} is printed"
    return f"The paper's columns of {name} on {split} average to {percent(mean)}, {verdict}."
