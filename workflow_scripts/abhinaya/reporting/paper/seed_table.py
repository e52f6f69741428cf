"""The variation of a system's macro-F1 between training seeds."""

import pandas as pd

from abhinaya.evaluation.analysis.seeds import spread
from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.paper.compare import MATCHING_NOTE, ComparisonTable, corpus_note
from abhinaya.reporting.paper.inputs import Inputs, require
from abhinaya.reporting.paper.system_tables import published_macro_f1
from abhinaya.reporting.table import MISSING, Cell, Table, percent

COLUMNS = ["system", "split", "measure", "seeds", "value", "sd", "lowest", "highest", "paper"]


def seeds(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of each system over its seeds: mean ± standard deviation, lowest, highest; and the paper's."""
    runs = inputs.settings.seed_runs
    require(runs, "seeds", "the training seeds")
    scores = {system: list(inputs.scores_of(by_seed.values(), "seeds").values()) for system, by_seed in runs.items()}
    statistics = spread(scores)
    paper = [published_macro_f1(inputs, row.system)(row.split) for row in statistics.itertuples()]
    statistics["paper"] = pd.Series(paper, dtype=float)
    splits = [split for split in SCORED if (statistics["split"] == split).any()]
    by_run = {(row.system, row.split): row for row in statistics.itertuples()}
    rows = [
        [Cell(system), *[cell for split in splits for cell in _cells(by_run.get((system, split)))]] for system in runs
    ]
    columns = ["ours", "seeds", "paper"]
    return ComparisonTable(
        "Seeds: variation between trainings",
        "Macro-F1 (%) of trainings that differ only in the seed: mean ± sample standard deviation (lowest to highest).",
        Table(["system", *columns * len(splits)], rows, [("", 1), *[(split, len(columns)) for split in splits]]),
        statistics.rename(columns={"mean": "value"}).assign(measure="macro_f1")[COLUMNS],
        [
            "These values show the variation between trainings; the intervals of the other tables cover the random "
            "choice of utterances.",
            MATCHING_NOTE,
            corpus_note(inputs.summary),
        ],
    )


def _cells(row: object | None) -> list[Cell]:
    if row is None:
        return [Cell(MISSING)] * 3
    mean, detail = percent(row.mean), ""
    if row.seeds > 1:
        mean = f"{mean} ± {percent(row.sd)}"
        detail = f"({percent(row.lowest)} to {percent(row.highest)})"
    paper = None if pd.isna(row.paper) else row.paper
    return [Cell(mean, detail), Cell(str(row.seeds)), Cell(percent(paper))]
