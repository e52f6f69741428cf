"""Our scores beside the published ones: what people read, and its records for programs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.table import NOTHING, Cell, Table, number, percent

COMPARED = ["ours", "paper", "paper in our interval"]
VALUES = ["value", "low", "high", "paper", "paper_in_interval"]  # as `Value.record` has them
MSP_PODCAST, ANY = "msp_podcast", "csv"  # kinds of corpus: the paper's, and one that may hold any
MATCHED = "A system is compared with the paper's of the same name, an ensemble with the paper's of the same members."


@dataclass(frozen=True)
class Made:
    """A table of the paper as its files hold it.

    Args:
        table: what people read, in per cent.
        records: what programs read, in fractions: a row for each value.
        figure: an inline SVG that follows the page's colours.
        svg: the same figure as a file of its own.
    """

    title: str
    caption: str
    table: Table
    records: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    figure: Markup | None = None
    svg: str | None = None


@dataclass(frozen=True)
class Row:
    """A system with its `scores.json`, and the function that gives its published macro-F1 on a split.

    `keys` are further columns after the name. The best value is sought among the rows of the same `rivals`.
    """

    name: str
    scores: dict
    paper: Callable[[str], float | None]
    keys: dict[str, str] = field(default_factory=dict)
    rivals: str = ""


@dataclass(frozen=True)
class Value:
    """A score of ours (0 to 1) with its interval, and the paper's; None where there is none.

    `digits`: how many stand behind the point of the interval's ends, in per cent.
    """

    value: float | None
    interval: Sequence[float] | None
    paper: float | None
    digits: int = 2

    @property
    def inside(self) -> bool | None:
        """Whether the paper's value lies in our interval, ends included; None where that is no question.

        All three are rounded as they are shown, for the paper's is: the table never contradicts itself.
        """
        if self.value is None or self.interval is None or self.paper is None:
            return None
        low, high = map(float, self._ends)
        if low == high:  # always or never right: resampling cannot tell how sure that is
            return None
        return low <= float(percent(self.paper)) <= high

    @property
    def _ends(self) -> list[str]:
        """The interval's ends as they are shown."""
        return [f"{100 * end:.{self.digits}f}" for end in self.interval or ()]

    def ours(self, best: bool = False) -> Cell:
        return Cell(percent(self.value), f"[{', '.join(self._ends)}]" if self.interval else "", best)

    def verdict(self) -> Cell:
        if self.inside is None:
            return Cell(NOTHING)
        if self.inside:
            return Cell("yes")
        return Cell("no", "(above it)" if self.paper > self.interval[1] else "(below it)")

    def record(self) -> dict[str, object]:
        """The columns VALUES; the published value is rounded, since it is a percentage divided by 100."""
        paper = None if self.paper is None else round(self.paper, 6)
        inside = {None: None, True: "yes", False: "no"}[self.inside]
        return dict(zip(VALUES, (self.value, *(self.interval or (None, None)), paper, inside), strict=True))


def macro_f1(row: Row, split: str) -> Value:
    found = row.scores.get(split) or {}
    return Value(found.get("macro_f1"), found.get("macro_f1_interval"), row.paper(split))


def beside(rows: list[Row]) -> tuple[Table, pd.DataFrame]:
    """Rows by splits: our macro-F1 with its interval, the published one, whether that lies in the interval.

    Splits on which neither we nor the paper have a value are left out.

    Returns:
        The table, and its records: a row for each system and split.
    """
    values = {split: [macro_f1(row, split) for row in rows] for split in SCORED}
    splits = [split for split in SCORED if any(one.value is not None or one.paper is not None for one in values[split])]
    keys = list(rows[0].keys)
    cells = [[Cell(row.name), *map(Cell, row.keys.values())] for row in rows]
    for split in splits:
        rivals = [(row.rivals, one.value) for row, one in zip(rows, values[split], strict=True)]
        for line, one, best in zip(cells, values[split], best_of(rivals), strict=True):
            line += [one.ours(best), Cell(percent(one.paper)), one.verdict()]
    groups = [(_heading(rows, split), len(COMPARED)) for split in splits]
    records = [
        {"system": row.name, **row.keys, "split": split, "measure": "macro_f1", "n": size(row.scores, split)}
        | one.record()
        for split in splits
        for row, one in zip(rows, values[split], strict=True)
    ]
    table = Table(["system", *keys, *COMPARED * len(splits)], cells, [("", 1 + len(keys)), *groups])
    return table, frame(records, ["system", *keys, "split", "measure", "n", *VALUES])


def frame(records: list[dict[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """The records for a CSV, with its header even if there are none; counts stay integers where some are missing."""
    return pd.DataFrame(records, columns=list(columns), dtype=object)


def best_of(values: Sequence[tuple[str, float | None]]) -> list[bool]:
    """Which of (rivals, value) are the best of their rivals; none where a value stands alone or all are 0."""
    known = defaultdict(list)
    for rivals, value in values:
        if value is not None:
            known[rivals].append(value)
    return [len(known[rivals]) > 1 and value == max(known[rivals]) > 0 for rivals, value in values]


def size(scores: dict, split: str) -> int | None:
    """How many utterances of `split` were scored."""
    return scores[split]["n"] if scores.get(split) else None


def how_drawn(scores: Sequence[dict]) -> str:
    """A sentence: on how many utterances the scores are, and how their intervals were drawn."""
    counted = [f"{split} n = {sizes}" for split in SCORED if (sizes := _sizes(scores, split))]
    ways = {tuple(sorted(one["bootstrap"].items())) for one in scores if one.get("bootstrap")}
    if not counted:
        return "No utterances with labels to score."
    sentences = [f"Scored utterances: {', '.join(counted)}."]
    for way in sorted(ways):
        found = dict(way)
        sentences.append(
            f"In brackets the {100 * found['level']:g} % interval of {number(found['resamples'])} bootstrap resamples "
            f"of the utterances, drawn within each true class (seed {found['seed']})."
        )
    return " ".join(sentences)


def corpus_note(summary: dict) -> str:
    """What follows from comparing with the paper, by the kind of corpus that `summary` names."""
    kind = summary.get("kind", ANY)
    if kind == MSP_PODCAST:
        return (
            "A published value outside our interval may come from other models, another draw of the validation set, or "
            "chance in training, which the interval does not hold."
        )
    if kind == ANY:
        return (
            "The paper's values are for MSP-Podcast and its full-size models. On another corpus or with other models "
            "nothing follows from the comparison."
        )
    return (
        f"Our values are on another corpus ({kind}); the paper's are for MSP-Podcast and its full-size models. Nothing "
        "follows from the comparison here."
    )


def _heading(rows: list[Row], split: str) -> str:
    sizes = _sizes([row.scores for row in rows], split)
    return f"{split} (n = {sizes})" if sizes else split


def _sizes(scores: Sequence[dict], split: str) -> str:
    """The number of utterances, or the least and the most of them; empty if none were scored."""
    found = sorted({n for one in scores if (n := size(one, split)) is not None})
    return " to ".join(map(number, dict.fromkeys([found[0], found[-1]]))) if found else ""
