from pathlib import Path

import pandas as pd
import pytest
import yaml

from abhinaya.labels import CLASSES
from abhinaya.reporting.paper import published
from abhinaya.reporting.paper.published import LOSSES
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

PUBLISHED = pd.read_csv(Path(published.__file__).with_name("paper.csv"), dtype=str, keep_default_na=False)
ROUNDING = 0.01  # per cent, of two printed numbers


def look_up(table: str, row: str, column: str, split: str) -> float | None:
    """The number from the function that the tables use."""
    if table == "table2":
        return published.loss_f1(row, column, split)
    if table == "table3":
        return published.class_f1(row, column, split)
    if table == "table4":
        return published.vote_f1(row.split("+"), split)
    if table == "zero_shot":
        return published.zero_shot_f1(row, split)
    return published.macro_f1(row, split)


def gain(score: float, over: float) -> float:
    """The relative gain in per cent, as printed."""
    return round(100 * (score / over - 1), 2)


@pytest.mark.parametrize(
    ("table", "row", "column", "split", "percent"),
    PUBLISHED.drop(columns="source").to_numpy().tolist(),
)
def test_every_published_number_is_found_as_a_fraction(table, row, column, split, percent):
    assert look_up(table, row, column, split) == pytest.approx(float(percent) / 100, abs=1e-12)


def test_each_number_has_a_place_in_the_paper():
    assert set(PUBLISHED["table"]) == set(published.TABLES)
    assert PUBLISHED["source"].str.startswith("paper, ").all()


def test_percentages_are_as_printed():
    assert PUBLISHED["percent"].str.fullmatch(r"\d{1,2}\.\d{1,2}").all()


def test_the_paper_s_own_configuration_has_every_system():
    config = yaml.safe_load((Path(__file__).parents[3] / "config" / "paper.yaml").read_text(encoding="utf-8"))
    assert published.NAMES - {"abhinaya_at_deadline"} <= set(config["systems"]) | set(config["ensembles"])
    assert set(config["ensembles"]["abhinaya"]["members"]) == published.MEMBERS
    assert published.zero_shot_f1(config["systems"]["t1"]["model"], "validation") == published.macro_f1(
        "t1", "validation"
    )


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (published.macro_f1, ("wavlm", "test")),
        (published.macro_f1, ("s1", "train")),
        (published.macro_f1, ("S1", "test")),
        (published.loss_f1, ("t1_8b", "wfl")),
        (published.loss_f1, ("s1", "macro_f1")),
        (published.loss_f1, ("s1", "wfl", "train")),
        (published.class_f1, ("s1", "O", "validation")),
        (published.class_f1, ("s1", "F", "train")),
        (published.vote_f1, (["s1"], "train")),
        (published.vote_f1, ([*sorted(published.MEMBERS), "baseline"], "test")),
        (published.vote_f1, ([], "test")),
        (published.zero_shot_f1, ("mistralai/Llama-4", "validation")),
        (published.zero_shot_f1, ("", "validation")),
        (published.counts, ("test",)),
    ],
)
def test_unpublished_numbers_are_none(function, arguments):
    assert function(*arguments) is None


def test_a_vote_is_found_by_its_members_in_any_order():
    members = ["t2", "st1", "s2", "t1", "s1"]
    assert published.vote_f1(members, "test") == published.vote_f1(iter(members[::-1]), "test") == pytest.approx(0.4402)
    members.remove("t1")
    assert (
        published.vote_f1(members, "validation")
        == published.vote_f1(members[::-1], "validation")
        == pytest.approx(0.4099)
    )


@pytest.mark.parametrize(
    ("members", "tie_break", "name"),
    [
        (["st1", "t2", "s1"], "st1", "s1+st1+t2"),  # combination II
        (["st1", "t2", "s1"], "s1", None),
        (["st1", "t2", "s1"], None, "s1+st1+t2"),
        (["s2", "t2", "st1"], "s2", "s2+st1+t2"),
        (["s2", "t2", "st1"], "st1", None),
        (["t1", "t2"], "t1", "t1+t2"),  # the paper does not say
        (sorted(published.MEMBERS), "s2", "abhinaya"),
        (sorted(published.MEMBERS), "t2", None),
        (["s1", "s2", "t1", "t2", "st1_3_epochs"], "s2", "abhinaya_at_deadline"),
        (["s1", "s2", "t1", "t2", "st1_3_epochs"], "s1", None),
    ],
)
def test_a_vote_is_found_by_its_members_and_tie_breaker(members, tie_break, name):
    assert published.vote_name(members, tie_break) == name
    if name is None:
        assert published.vote_f1(members, "validation", tie_break) is None


def test_each_number_of_table_4_is_found_with_the_paper_s_tie_breaker():
    for row in PUBLISHED.loc[PUBLISHED["table"] == "table4", "row"]:
        assert published.vote_f1(row.split("+"), "validation", "st1" if row == "s1+t2+st1" else "s2") is not None


def test_a_model_is_found_by_its_hub_name():
    named = published.zero_shot_f1("meta-llama/Llama-3.1-8B-Instruct", "validation")
    assert named == published.zero_shot_f1("LLaMA-3.1-8B", "validation") == pytest.approx(0.2847)


HEADER = ",".join(published.COLUMNS)


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    (folder / "paper.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "paper.csv"


@pytest.mark.parametrize(
    ("line", "look_up"),
    [
        ('table4,t2+s1+s2,macro_f1,test,39.74,"paper, Table 4"', lambda: published.vote_f1(["s1", "s2", "t2"], "test")),
        (
            "zero_shot,Qwen2.5-72B,macro_f1,test,39.74,p",
            lambda: published.zero_shot_f1("Qwen/qwen2.5-72b-Instruct", "test"),
        ),
        (
            "table1,t1,macro_f1,test,39.74,p",
            lambda: published.zero_shot_f1("meta-llama/Llama-3.3-70B-Instruct", "test"),
        ),
        ("table3,s1,C,validation,39.74,p", lambda: published.class_f1("s1", "C", "validation")),
    ],
)
def test_added_numbers_are_found_in_each_spelling(tmp_path, monkeypatch, line, look_up):
    added = published.read(written(tmp_path, line))
    monkeypatch.setattr(published, "_published", lambda: added)
    assert look_up() == pytest.approx(0.3974)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("table9,s1,macro_f1,test,33,p", ["'table9'", "table1, table2"]),
        ("table1,S1,macro_f1,test,33,p", ["'S1'", "table1", "abhinaya,"]),
        ("table2,t1,wce,test,33,p", ["'t1'", "table2", "baseline, s1, s2, s2_7b, st1, t2"]),
        ("table4,s1+s1+s2,macro_f1,test,33,p", ["'s1+s1+s2'"]),
        ("zero_shot,org/,macro_f1,test,33,p", ["no model"]),
        ("section_4_6,s2,macro_f1,test,40,p", ["second", "s2, macro_f1, test"]),
        ("table1,s1,f1,test,33,p", ["table1", "'f1'", "macro_f1"]),
        ("table2,s1,WCE,test,33,p", ["table2", "'WCE'", "wce, wfl, vs"]),
        ("table3,s1,X,test,33,p", ["table3", "'X'"]),
        ("table1,s1,macro_f1,Test,33,p", ["'Test'", "validation, test"]),
        ("table1,s1,macro_f1,test,33 %,p", ["'33 %'"]),
        ("table1,s1,macro_f1,test,nan,p", ["'nan'"]),
        ("table1,s1,macro_f1,test,101,p", ["'101'"]),
        ("table4,s1+x,macro_f1,test,33,p", ["'s1+x'"]),
        ("table4,s1+s2+t1+t2+st1,macro_f1,test,33,p", ["'s1+s2+t1+t2+st1'", "abhinaya in table1"]),
        ("zero_shot,org/LLaMA-3.3-70B-Instruct,macro_f1,test,33,p", ["T1", "t1 in table1"]),
        ("table1,s2,macro_f1,test,35,p", ["second", "s2, macro_f1, test"]),
    ],
)
def test_invalid_published_number_is_reported(tmp_path, line, parts):
    with pytest.raises(UserError) as caught:
        published.read(written(tmp_path, "table1,s2,macro_f1,test,35.34,p", line))
    assert_names(str(caught.value), "paper.csv: row 3: ", *parts)


@pytest.mark.parametrize(("before", "row"), [([], "row 2"), (["table1,s2,macro_f1,test,35.34,p"], "line 3")])
def test_extra_comma_is_reported(tmp_path, before, row):
    with pytest.raises(UserError) as caught:
        published.read(written(tmp_path, *before, "table1,s1,macro_f1,test,33,paper, Table 1"))
    assert_names(str(caught.value), "paper.csv: ", row, "quote")


def test_invalid_columns_of_published_numbers_are_reported(tmp_path):
    with pytest.raises(UserError) as caught:
        published.read(written(tmp_path, header="table,row"))
    assert_names(str(caught.value), "paper.csv: ", "table, row;", "table, row, column, split, percent, source")


def test_the_gains_that_the_paper_states_follow_from_its_scores():
    vote = published.vote_f1(published.MEMBERS, "test")
    singles = [published.macro_f1(system, "test") for system in published.MEMBERS]
    assert gain(vote, max(score for score in singles if score is not None)) == 24.56
    assert gain(vote, published.macro_f1("baseline", "test")) == 33.68
    assert vote > published.macro_f1("abhinaya_at_deadline", "test") > published.macro_f1("s2", "test")


@pytest.mark.parametrize(("system", "best"), [("s1", "wfl"), ("s2", "wfl"), ("t2", "vs"), ("st1", "vs")])
def test_each_system_has_its_best_loss_in_table_1(system, best):
    scores = {loss: published.loss_f1(system, loss) for loss in LOSSES}
    assert max(scores, key=scores.get) == best
    assert scores[best] == published.macro_f1(system, "validation")


@pytest.mark.parametrize("system", sorted(set(PUBLISHED.loc[PUBLISHED["table"] == "table3", "row"])))
def test_class_wise_f1_average_to_table_1(system):
    """The mean of the eight F1 is the macro-F1, up to rounding."""
    mean = sum(published.class_f1(system, letter, "validation") for letter in CLASSES) / len(CLASSES)
    assert 100 * mean == pytest.approx(100 * published.macro_f1(system, "validation"), abs=ROUNDING)


def test_counts_are_those_of_the_challenge():
    train, validation = published.counts("train"), published.counts("validation")
    assert list(train) == list(validation) == list(CLASSES)
    assert sum(train.values()) == 66_977 < published.FILES["Train"]
    assert (max(train, key=train.get), min(train, key=train.get)) == ("N", "F")
    assert round(train["N"] / train["F"], 1) == 26.1
    assert sum(validation.values()) == 8 * 326 == 2608 < published.FILES["Development"]
