"""Our scores and the published ones: as a table, and as records for a CSV file."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.table import MISSING, Cell, Table, number, percent

COMPARED = ["ours", "paper", "paper in our interval"]
VALUES = ["value", "low", "high", "paper", "paper_in_interval"]  # columns of `Value.record`
MSP_PODCAST, CSV = "msp_podcast", "csv"  # kinds of corpus: the paper's, and one that may be any corpus
MATCHING_NOTE = (
    "A system is compared with the paper's system of the same name, an ensemble with the paper's of the same members "
    "and tie-breaker."
)


@dataclass(frozen=True)
class ComparisonTable:
    """A table of the paper with our values and the published ones.

    Args:
        table: the values in per cent.
        records: the values as fractions, for the CSV file: a row for each.
        figure: an inline SVG with the colours of the report's page.
        svg: the same figure as an SVG file.
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
    """A row of a table.

    Args:
        name: of a system or ensemble.
        scores: its `scores.json`.
        paper: returns the published macro-F1 (0 to 1, or None) on a split.
        keys: further columns after the name.
        group: the best value of each group is bold.
    """

    name: str
    scores: dict
    paper: Callable[[str], float | None]
    keys: dict[str, str] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class Value:
    """Our score (0 to 1) with its interval, and the published one; each None if missing.

    Args:
        digits: decimal places of the ends of the interval, in per cent.
    """

    value: float | None
    interval: Sequence[float] | None
    paper: float | None
    digits: int = 2

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies in our interval, ends included; None if one of them is missing.

        All are rounded as in the table, so that the verdict agrees with the numbers in it.
        """
        if self.value is None or self.interval is None or self.paper is None:
            return None
        low, high = map(float, self._ends)
        if low == high:  # all or no predictions are correct: the bootstrap has no variation
            return None
        return low <= float(percent(self.paper)) <= high

    @property
    def _ends(self) -> list[str]:
        """The ends of the interval as in the table."""
        return [f"{100 * end:.{self.digits}f}" for end in self.interval or ()]

    def ours(self, best: bool = False) -> Cell:
        return Cell(percent(self.value), f"[{', '.join(self._ends)}]" if self.interval else "", best)

    def verdict(self) -> Cell:
        if self.inside is None:
            return Cell(MISSING)
        if self.inside:
            return Cell("yes")
        return Cell("no", "(above it)" if self.paper > self.interval[1] else "(below it)")

    def record(self) -> dict[str, object]:
        """The columns VALUES; the published value is rounded, since it is a percentage divided by 100."""
        paper = None if self.paper is None else round(self.paper, 6)
        inside = {None: None, True: "yes", False: "no"}[self.inside]
        return dict(zip(VALUES, (self.value, *(self.interval or (None, None)), paper, inside), strict=True))


def macro_f1(row: Row, split: str) -> Value:
    """Our macro-F1 and the published one."""
    scores = row.scores.get(split) or {}
    return Value(scores.get("macro_f1"), scores.get("macro_f1_interval"), row.paper(split))


def compare_systems(rows: list[Row]) -> tuple[Table, pd.DataFrame]:
    """Rows by splits: our macro-F1 with its interval, the published one, whether that lies in the interval.

    Splits without any value are omitted.

    Returns:
        The table, and its records: a row for each system and split.
    """
    values = {split: [macro_f1(row, split) for row in rows] for split in SCORED}
    splits = [split for split in SCORED if any((score.value, score.paper) != (None, None) for score in values[split])]
    keys = list(rows[0].keys)
    cells = [[Cell(row.name), *map(Cell, row.keys.values())] for row in rows]
    for split in splits:
        group = [(row.group, score.value) for row, score in zip(rows, values[split], strict=True)]
        for line, score, best in zip(cells, values[split], mark_best(group), strict=True):
            line += [score.ours(best), Cell(percent(score.paper)), score.verdict()]
    groups = [(_heading(rows, split), len(COMPARED)) for split in splits]
    records = [
        {"system": row.name, **row.keys, "split": split, "measure": "macro_f1", "n": n_scored(row.scores, split)}
        | score.record()
        for split in splits
        for row, score in zip(rows, values[split], strict=True)
    ]
    table = Table(["system", *keys, *COMPARED * len(splits)], cells, [("", 1 + len(keys)), *groups])
    return table, records_frame(records, ["system", *keys, "split", "measure", "n", *VALUES])


def records_frame(records: list, columns: Sequence[str]) -> pd.DataFrame:
    """The records for a CSV file; integers remain integers if values are missing in their column."""
    return pd.DataFrame(records, columns=list(columns), dtype=object)


def mark_best(values: Sequence[tuple[str, float | None]]) -> list[bool]:
    """Whether each (group, value) is the best of its group; none is if it is the only value or all are 0."""
    known = defaultdict(list)
    for group, value in values:
        if value is not None:
            known[group].append(value)
    return [len(known[group]) > 1 and value == max(known[group]) > 0 for group, value in values]


def n_scored(scores: dict, split: str) -> int | None:
    """The number of scored utterances of `split`; None without scores."""
    return scores[split]["n"] if scores.get(split) else None


def scoring_note(scores: Sequence[dict]) -> str:
    """Sentences on the number of scored utterances and the bootstrap of their intervals."""
    sizes = [f"{split} n = {n}" for split in SCORED if (n := _sizes(scores, split))]
    if not sizes:
        return "There are no utterances with labels."
    sentences = [f"Scored utterances: {', '.join(sizes)}."]
    bootstraps = [system["bootstrap"] for system in scores if system.get("bootstrap")]
    settings = {(bootstrap["level"], bootstrap["resamples"], bootstrap["seed"]) for bootstrap in bootstraps}
    for level, resamples, seed in sorted(settings):
        sentences.append(
            f"In brackets: the {100 * level:g} % interval of {number(resamples)} bootstrap resamples of the "
            f"utterances, stratified by true class (seed {seed})."
        )
    return " ".join(sentences)


def corpus_note(summary: dict) -> str:
    """A sentence on the meaning of the comparison, by the kind of the corpus."""
    kind = summary.get("kind", CSV)
    if kind == MSP_PODCAST:
        return (
            "Reasons for a published value outside our interval: other models, another random validation set, or the "
            "variation between trainings, which the interval does not cover."
        )
    ours = "other corpora or models" if kind == CSV else f"our values, which are on another corpus ({kind})"
    return f"The paper's values are for MSP-Podcast and its full-size models; they are not comparable with {ours}."


def _heading(rows: list[Row], split: str) -> str:
    sizes = _sizes([row.scores for row in rows], split)
    return f"{split} (n = {sizes})" if sizes else split


def _sizes(scores: Sequence[dict], split: str) -> str:
    """The number of scored utterances, or the smallest and the largest number; empty without scores."""
    sizes = {n for system in scores if (n := n_scored(system, split)) is not None}
    return " to ".join(map(number, sorted({min(sizes), max(sizes)}))) if sizes else ""
