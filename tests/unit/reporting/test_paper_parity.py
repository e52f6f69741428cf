"""Every number that the paper prints is at its place in the tables of config/paper.yaml."""

from pathlib import Path

import pandas as pd
import pytest

from abhinaya import config
from abhinaya.config import Config, paper_runs, runs
from abhinaya.evaluation.metrics import read_scores
from abhinaya.reporting import paper as tables
from abhinaya.reporting.paper import published
from abhinaya.reporting.table import percent
from abhinaya.runtime.files import read_json

ROOT = Path(__file__).parents[3]
PRINTED = pd.read_csv(ROOT / "tests/data/paper-numbers.csv", comment="#", dtype=str)
KEYS = ["table", "row", "column", "split"]
COMBINATIONS = {  # of Table 4: members and tie-breaker
    "comb_i": ("s2+t2+st1", "s2"),
    "comb_ii": ("s1+t2+st1", "st1"),
    "comb_iii": ("s1+s2+t2+st1", "s2"),
    "comb_iv": ("s1+s2+t1+t2", "s2"),
}
ROWS = {members: name for name, (members, _) in COMBINATIONS.items()} | {"llama-3.1-8b": "t1_8b"}
SHOWN_IN = {"section_4_5": "zero_shot_speech", "zero_shot": "figure2"}


@pytest.fixture(scope="module")
def paper_config() -> Config:
    return config.load(ROOT / "config/paper.yaml")


@pytest.fixture(scope="module")
def made(paper_config: Config, score_files: dict[str, Path]) -> dict[str, tables.ComparisonTable]:
    """The tables of config/paper.yaml; all runs have the same scores."""
    settings = config.parse(tables.Settings, paper_runs.settings(paper_config))
    scores, summary = read_scores(score_files["s1"]), read_json(score_files["summary"])
    votes = runs.ensembles(paper_config)
    return {
        name: tables.make(
            name,
            tables.Inputs(
                settings,
                dict.fromkeys(needed, scores),
                {run: votes[run].members for run in needed if run in votes},
                summary,
            ),
        )
        for name, needed in paper_runs.tables(paper_config).items()
    }


def shown_in(table: str, row: str) -> str:
    return "table1_submitted" if row == "abhinaya_at_deadline" else SHOWN_IN.get(table, table)


def records(made: dict[str, tables.ComparisonTable], table: str, row: str, column: str, split: str) -> pd.DataFrame:
    found = made[shown_in(table, row)].records
    found = found[(found["system"] == ROWS.get(row, row)) & (found["split"] == split)]
    if table == "table2":
        return found[found["loss"] == column.upper()]
    if table == "table3":
        return found[found["class"] == column]
    return found


def test_the_numbers_are_those_of_the_paper() -> None:
    ours = pd.read_csv(Path(published.__file__).with_name("paper.csv"), dtype=str)
    assert len(PRINTED) == len(ours) == 80
    assert ours.set_index(KEYS)["percent"].to_dict() == PRINTED.set_index(KEYS)["percent"].to_dict()


@pytest.mark.parametrize(("table", "row", "column", "split", "value"), PRINTED[[*KEYS, "percent"]].to_numpy().tolist())
def test_each_number_is_shown_at_its_place(made, table, row, column, split, value):
    (paper,) = records(made, table, row, column, split)["paper"]
    assert paper == pytest.approx(float(value) / 100, abs=1e-9)
    name = ROWS.get(row, row)
    lines = [line for line in made[shown_in(table, row)].table.rows if line[0].text in (name, f"{name}: paper")]
    assert f"{float(value):.2f}" in {cell.text for line in lines for cell in line}


def test_the_tables_show_no_other_numbers(made):
    """A number may be in several tables: a system's loss of Table 2 is in Table 1, too."""
    printed = {float(value) for value in PRINTED["percent"]}
    for name in ("table1", "table1_submitted", "table2", "table3", "table4", "figure2", "zero_shot_speech"):
        shown = made[name].records["paper"].dropna()
        assert len(shown) and {round(100 * value, 4) for value in shown} <= printed


@pytest.mark.parametrize("name", ["config.yaml", "config/paper.yaml"])
def test_the_combinations_are_those_of_the_paper(name):
    combinations = config.load(ROOT / name).tables.combinations
    assert {
        name: ("+".join(vote.members), vote.tie_break)
        for name, vote in combinations.items()
        if not name.startswith("ours_")
    } == COMBINATIONS


def test_the_combinations_of_our_own_have_no_published_number(paper_config, made):
    own = [name for name in paper_config.tables.combinations if name.startswith("ours_")]
    found = made["table4"].records.set_index("system")["paper"]
    assert len(own) == 3 and found[own].isna().all()


def test_the_submitted_vote_has_st1_after_three_epochs(paper_config):
    early, st1 = paper_config.tables.systems[published.EARLY_ST1], paper_config.systems["st1"]
    assert early.training == st1.training.model_copy(update={"epochs": 3})
    assert early.model_copy(update={"training": st1.training, "description": st1.description}) == st1
    finished, vote = paper_config.ensembles["abhinaya"], paper_config.tables.submitted["abhinaya_at_deadline"]
    members = [published.EARLY_ST1 if member == "st1" else member for member in finished.members]
    assert vote == finished.model_copy(update={"members": members})
    assert published.EARLY_ST1 not in runs.of_all(paper_config)
    assert {"table1", "table3", "table4"} <= set(paper_runs.in_report(paper_config))
    assert "table1_submitted" not in paper_runs.in_report(paper_config)


def test_table_1_says_what_the_submission_had(made):
    (note,) = [note for note in made["table1"].notes if "deadline" in note]
    assert "43.01 on validation and 41.81 on test" in note


def test_table_3_says_how_the_means_agree_with_table_1(made):
    notes = [note for note in made["table3"].notes if "eight F1" in note]
    assert len(notes) == 6 and all("equal within rounding" in note for note in notes)
    assert notes[0] == (
        "s1 on validation: the mean of the paper's eight F1 is 34.436, its macro-F1 34.43: equal within rounding."
    )
    assert percent(published.macro_f1("s1", "validation")) == "34.43"


def test_section_4_1_has_the_paper_s_files(made):
    (note,) = [note for note in made["section_4_1"].notes if "partition" in note.casefold() or "files in" in note]
    for part in ("84,260 files in Train", "31,961 files in Development", "3,200 files in Test3"):
        assert part in note
    found = made["section_4_1"].records
    found = found[(found["measure"] == "utterances") & found["class"].isna()]
    assert found["paper"].tolist() == [84260, 2608, 3200]
