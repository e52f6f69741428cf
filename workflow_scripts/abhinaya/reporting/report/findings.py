"""Analysis of systems and pairs: significance, calibration, subgroups."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.summary import ALPHA, best, headline, significant
from abhinaya.reporting.report.wording import between, count, probability, signed_points
from abhinaya.reporting.table import MISSING, Cell, Table, number, percent

Figures = list[tuple[str, Markup]]  # caption, SVG


def significance(inputs: Inputs) -> list[dict]:
    """For each split, the test split first: a sentence, a heat map of the differences, a table of all pairs, intervals.

    The first three are None for a single system, the intervals over resampled speakers for few speakers.
    """
    pairs, speakers = dict(by_split(inputs, "significance")), dict(by_split(inputs, "speakers"))
    return [
        {
            "split": split,
            "sentence": _differing(pairs[split]) if split in pairs else None,
            "map": _difference_map(inputs, pairs[split], split) if split in pairs else None,
            "pairs": _pairs(pairs[split]) if split in pairs else None,
            "speakers": _speakers(inputs, speakers[split]) if split in speakers else None,
        }
        for split in reversed(SCORED)
        if split in pairs or split in speakers
    ]


def calibration(inputs: Inputs) -> dict | None:
    """A sentence, a table of the calibration errors, and reliability diagrams by split."""
    splits = by_split(inputs, "calibration")
    if not splits:
        return None
    return {
        "sentence": _overconfident(*splits[0]),
        "table": _calibration_table(inputs, dict(splits)),
        "diagrams": [(split, _reliability(inputs, rows, split)) for split, rows in by_split(inputs, "reliability")],
    }


def subgroups(inputs: Inputs) -> list[dict]:
    """For each variable: a figure of the best system's macro-F1 by group, and tables of all systems by split."""
    split = headline(inputs.scores)
    if split is None:
        return []
    system = best(inputs.scores, split)
    return [
        {
            "variable": variable,
            "system": system,
            "split": split,
            "figure": _groups_figure(rows[(rows["system"] == system) & (rows["split"] == split)], system, variable),
            "tables": [(part, _groups_table(inputs, of_split)) for part, of_split in splits_of(rows)],
        }
        for variable, rows in inputs.analysed("subgroups").groupby("variable", sort=False)
    ]


def by_split(inputs: Inputs, table: str, **where: str) -> list[tuple[str, pd.DataFrame]]:
    """The rows of a table of the analysis with the given column values, by split as in `splits_of`."""
    return splits_of(inputs.analysed(table, **where))


def splits_of(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each split, the test split before validation; empty splits are omitted."""
    groups = dict(list(rows.groupby("split")))
    return [(split, groups[split]) for split in reversed(SCORED) if split in groups]


def in_order(inputs: Inputs, names: pd.Series) -> list[str]:
    """The distinct `names` in the order of the scores; unknown names come last."""
    known = [name for name in inputs.scores if name in set(names)]
    return list(dict.fromkeys([*known, *names]))


def square(names: list[str], pairs: pd.DataFrame, column: str, mirrored: int) -> np.ndarray:
    """(names, names) values of `pairs`; the lower triangle is `mirrored` times the upper one, the diagonal NaN."""
    square = np.full((len(names), len(names)), np.nan)
    places = {name: place for place, name in enumerate(names)}
    for a, b, value in zip(pairs["a"].map(places), pairs["b"].map(places), pairs[column], strict=True):
        square[a, b], square[b, a] = value, mirrored * value
    return square


def _differing(rows: pd.DataFrame) -> str:
    """A sentence: how many pairs differ significantly with resampled utterances and, if known, speakers."""
    tests = ["p_bootstrap_holm", *(["p_speakers_holm"] if _has_speakers(rows) else [])]
    if len(rows) == 1:
        verdicts = [significant(rows[test].iloc[0]) for test in tests]
        return f"The difference is {'; with resampled speakers it is '.join(verdicts)}."
    of_utterances, *of_speakers = [number(int((rows[test] < ALPHA).sum())) for test in tests]
    differ = f"{of_utterances} of {number(len(rows))} pairs differ significantly after Holm's correction"
    return "; with resampled speakers, ".join([differ, *of_speakers]) + "."


def _has_speakers(rows: pd.DataFrame) -> bool:
    return bool(rows["p_speakers_holm"].notna().all())


def _speakers(inputs: Inputs, rows: pd.DataFrame) -> dict:
    """The number of known speakers, and the intervals over resampled utterances and speakers."""
    split, body = rows["split"].iloc[0], []
    for row in rows.itertuples():
        scores = inputs.scores.get(row.system, {}).get(split)
        of_utterances = _range(*scores["macro_f1_interval"]) if scores else MISSING
        body.append([*map(Cell, (row.system, percent(row.macro_f1), of_utterances, _range(row.low, row.high)))])
    columns = ["system", "macro-F1", "resampled utterances", "resampled speakers"]
    return {"known": count(int(rows["speakers"].iloc[0]), "speaker"), "table": Table(columns, body)}


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _difference_map(inputs: Inputs, rows: pd.DataFrame, split: str) -> Markup:
    names = in_order(inputs, pd.concat([rows["a"], rows["b"]]))
    differences = square(names, rows, "difference", -1)
    is_significant = square(names, rows, "p_bootstrap_holm", 1) < ALPHA
    texts = [["" if np.isnan(value) else signed_points(value) for value in line] for line in differences]
    largest = max(np.nanmax(np.abs(differences)), 1e-9)
    title = f"differences of macro-F1 on {split}, row minus column, in points"
    return figures.heat_map(np.where(is_significant, differences, np.nan), names, texts, title, largest)


def _pairs(rows: pd.DataFrame) -> Table:
    has_speakers = _has_speakers(rows)
    body = []
    for row in rows.itertuples():
        difference = Cell(signed_points(row.difference), between(row.low, row.high), row.p_bootstrap_holm < ALPHA)
        correct = [Cell(number(int(n))) for n in (row.only_a_right, row.only_b_right)]
        body.append(
            [
                Cell(f"{row.a} – {row.b}"),
                difference,
                *_p_values(row.p_bootstrap, row.p_bootstrap_holm),
                *(_p_values(row.p_speakers, row.p_speakers_holm) if has_speakers else []),
                *correct,
                *_p_values(row.p_mcnemar, row.p_mcnemar_holm),
            ]
        )
    tests = ["p", "p, Holm"]
    columns = ["pair", "difference", *tests * (1 + has_speakers), "only first correct", "only second correct", *tests]
    speakers = [("resampled speakers", 2)] if has_speakers else []
    groups = [("", 1), ("macro-F1, resampled utterances", 3), *speakers, ("accuracy, McNemar", 4)]
    return Table(columns, body, groups)


def _p_values(p: float, p_holm: float) -> list[Cell]:
    return [Cell(probability(p)), Cell(probability(p_holm), best=p_holm < ALPHA)]


def _overconfident(split: str, rows: pd.DataFrame) -> str:
    over = int((rows["confidence"] > rows["accuracy"]).sum())
    return f"On {split}, {over} of {count(len(rows), 'system')} {'is' if over == 1 else 'are'} overconfident."


def _calibration_table(inputs: Inputs, splits: dict[str, pd.DataFrame]) -> Table:
    names = in_order(inputs, pd.concat([rows["system"] for rows in splits.values()]))
    body = [[Cell(name)] for name in names]
    for rows in splits.values():
        by_system = rows.drop_duplicates("system").set_index("system")
        lowest = by_system["ece"].min()
        for line, name in zip(body, names, strict=True):
            if name not in by_system.index:
                line += [Cell(MISSING)] * 3
                continue
            row = by_system.loc[name]
            line.append(Cell(percent(row["ece"]), best=len(by_system) > 1 and row["ece"] == lowest))
            line += [Cell(percent(row["confidence"])), Cell(percent(row["accuracy"]))]
    groups = [(split, 3) for split in splits]
    return Table(["system", *["calibration error", "confidence", "accuracy"] * len(splits)], body, [("", 1), *groups])


def _reliability(inputs: Inputs, rows: pd.DataFrame, split: str) -> Figures:
    return [
        (name, figures.reliability(rows[rows["system"] == name], f"reliability of {name} on {split}"))
        for name in in_order(inputs, rows["system"])
    ]


def _groups_figure(rows: pd.DataFrame, system: str, variable: str) -> Markup | None:
    if rows.empty:
        return None
    names = [f"{group} ({number(int(n))})" for group, n in zip(rows["group"], rows["n"], strict=True)]
    measured = list(zip(rows["macro_f1"], rows["low"], rows["high"], strict=True))
    return figures.dots(names, {system: measured}, "macro-F1 (%)", f"macro-F1 of {system} by {variable}")


def _groups_table(inputs: Inputs, rows: pd.DataFrame) -> Table:
    """Groups by systems."""
    systems = in_order(inputs, rows["system"])
    cells = {
        (row.group, row.system): Cell(percent(row.macro_f1), f"[{100 * row.low:.1f}, {100 * row.high:.1f}]")
        for row in rows.itertuples()
    }
    body = [
        [Cell(group, count(int(n), "utterance")), *[cells.get((group, system), Cell(MISSING)) for system in systems]]
        for group, n in dict(zip(rows["group"], rows["n"], strict=True)).items()
    ]
    return Table(["group", *systems], body)
