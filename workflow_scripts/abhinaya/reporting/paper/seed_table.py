"""How much a system changes when it is trained from another seed."""

import pandas as pd

from abhinaya.evaluation.analysis.seeds import spread
from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.paper.compare import MATCHED, Made, corpus_note
from abhinaya.reporting.paper.inputs import Inputs, needs
from abhinaya.reporting.paper.system_tables import published_macro_f1
from abhinaya.reporting.table import NOTHING, Cell, Table, percent


def seeds(inputs: Inputs) -> Made:
    """Macro-F1 of each system over its seeds: mean ± standard deviation, lowest and highest, beside the paper's."""
    runs = inputs.settings.seed_runs
    needs(runs, "seeds", "the seeds to train from")
    found = spread(
        {system: list(inputs.chosen(by_seed.values(), "seeds").values()) for system, by_seed in runs.items()}
    )
    found["paper"] = [published_macro_f1(inputs, row.system)(row.split) for row in found.itertuples()]
    found["paper"] = found["paper"].astype(float)
    splits = [split for split in SCORED if (found["split"] == split).any()]
    by_place = {(row.system, row.split): row for row in found.itertuples()}
    rows = [
        [Cell(system), *[cell for split in splits for cell in _cells(by_place.get((system, split)))]] for system in runs
    ]
    columns = ["ours", "seeds", "paper"]
    return Made(
        "Seeds: how much a training's luck matters",
        "Macro-F1 (%) over trainings that differ in nothing but the seed: mean ± standard deviation of a sample, and "
        "from the lowest to the highest.",
        Table(["system", *columns * len(splits)], rows, [("", 1), *[(split, len(columns)) for split in splits]]),
        _records(found),
        [
            "This is the spread of training, where the other tables' intervals are the spread of utterances.",
            MATCHED,
            corpus_note(inputs.summary),
        ],
    )


def _cells(row: object | None) -> list[Cell]:
    if row is None:
        return [Cell(NOTHING)] * 3
    mean, detail = percent(row.mean), ""
    if row.seeds > 1:
        mean = f"{mean} ± {percent(row.sd)}"
        detail = f"({percent(row.lowest)} to {percent(row.highest)})"
    theirs = None if pd.isna(row.paper) else row.paper
    return [Cell(mean, detail), Cell(str(row.seeds)), Cell(percent(theirs))]


def _records(found: pd.DataFrame) -> pd.DataFrame:
    """In the columns of the other tables, as far as they have the same."""
    records = found.rename(columns={"mean": "value"}).assign(measure="macro_f1")
    return records[["system", "split", "measure", "seeds", "value", "sd", "lowest", "highest", "paper"]]
