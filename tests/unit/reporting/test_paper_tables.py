"""The values in the paper's tables."""

import re
import statistics
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from abhinaya.labels import CLASSES
from abhinaya.reporting import paper as tables
from abhinaya.reporting.paper import published as paper
from abhinaya.reporting.paper.compare import Value, corpus_note, mark_best
from abhinaya.reporting.table import MISSING, Cell
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json
from support.paper_parts import FIVE, SETTINGS, SPLITS, check_latex, inputs_of, record, shown


def test_table1_contains_scores_intervals_and_published_values(score_files, tables_folder):
    for name in SETTINGS["components"]:
        for split in SPLITS:
            scores = read_json(score_files[name])[split]
            row = record(tables_folder, "table1", system=name, split=split)
            assert (row["value"], row["n"]) == (scores["macro_f1"], scores["n"])
            assert [row["low"], row["high"]] == scores["macro_f1_interval"]
            paper_value = paper.vote_f1(FIVE, split) if name == "vote" else paper.macro_f1(name, split)
            assert row["paper"] == pytest.approx(paper_value) if paper_value is not None else pd.isna(row["paper"])
            ours, published, verdict = shown(tables_folder, "table1", name)[3 * SPLITS.index(split) :][:3]
            assert ours["text"] == f"{100 * scores['macro_f1']:.2f}"
            assert ours["detail"] == "[{:.2f}, {:.2f}]".format(*(100 * end for end in scores["macro_f1_interval"]))
            assert published["text"] == (MISSING if paper_value is None else f"{100 * paper_value:.2f}")
            assert verdict["text"] == (MISSING if paper_value is None else row["paper_in_interval"])


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([("", 0.2), ("", 0.3), ("", None)], [False, True, False]),
        ([("", 0.3), ("", 0.3), ("", 0.2)], [True, True, False]),
        ([("", 0.0), ("", 0.0)], [False, False]),
        ([("", 0.0), ("", 0.1)], [False, True]),
        ([("", 0.3), ("", None)], [False, False]),
        ([("a", 0.3), ("a", 0.2), ("b", 0.1), ("b", 0.2)], [True, False, False, True]),
        ([], []),
    ],
)
def test_best_value_of_each_group(values, best):
    assert mark_best(values) == best


def test_captions_describe_the_bootstrap(tables_folder):
    caption = read_json(tables_folder / "table1.json")["caption"]
    assert "validation n = 80, test n = 80" in caption
    assert "95 % interval of 50 bootstrap resamples" in caption and "seed 1234" in caption


@pytest.mark.parametrize(
    ("value", "interval", "paper_value", "inside", "text", "detail"),
    [
        (0.40, [0.35, 0.4402], 0.4402, True, "yes", ""),
        (0.40, [0.35, 0.440249], 44.02 / 100, True, "yes", ""),  # all are displayed as 44.02
        (0.40, [0.35, 0.440151], 44.02 / 100, True, "yes", ""),
        (0.40, [0.35, 0.440149], 44.02 / 100, False, "no", "(above it)"),
        (0.46, [0.4402, 0.48], 0.4402, True, "yes", ""),
        (0.46, [0.440251, 0.48], 0.4402, False, "no", "(below it)"),
        (0.46, [0.46, 0.46], 0.46, None, MISSING, ""),  # the bootstrap has no variation
        (0.30, [0.35, 0.40], 0.33, False, "no", "(below it)"),  # an interval may exclude our value
        (0.46, [0.44, 0.48], None, None, MISSING, ""),
        (0.46, None, 0.46, None, MISSING, ""),
        (None, None, 0.46, None, MISSING, ""),
    ],
)
def test_published_value_in_our_interval(value, interval, paper_value, inside, text, detail):
    one = Value(value, interval, paper_value)
    assert one.inside is inside
    assert one.verdict() == Cell(text, detail)
    assert one.record()["paper_in_interval"] == {True: "yes", False: "no", None: None}[inside]


def test_a_split_without_scores_is_a_dash(score_files, tmp_path):
    inputs = inputs_of(score_files, components=["baseline", "s1"])
    for name in ("baseline", "s1"):
        inputs.scores[name]["test"] = None
    made = tables.make("table1", inputs)
    tables.write("table1", made, tmp_path)
    for name in ("baseline", "s1"):
        ours, paper_value, verdict = shown(tmp_path, "table1", name)[3:]
        assert (ours["text"], ours["detail"], ours["best"], verdict["text"]) == (MISSING, "", False, MISSING)
        assert paper_value["text"] == f"{100 * paper.macro_f1(name, 'test'):.2f}"
        assert record(tmp_path, "table1", system=name, split="test").isna().sum() == 5  # n, three of ours, the verdict
    assert "test n" not in made.caption
    tables.write("table3", tables.make("table3", inputs), tmp_path)
    assert not (pd.read_csv(tmp_path / "table3.csv")["split"] == "test").any()


def test_tables_without_scores(score_files, tmp_path):
    inputs = inputs_of(score_files, components=["s1_1"])
    inputs.scores["s1_1"] |= dict.fromkeys(SPLITS)
    for table in ("table1", "table3"):
        made = tables.make(table, inputs)
        tables.write(table, made, tmp_path)
        assert (tmp_path / f"{table}.csv").read_text().startswith("system,split,measure,")
        assert "no utterances with labels" in made.caption
        check_latex((tmp_path / f"{table}.tex").read_text(), len(made.table.columns))


def test_table2_compares_the_losses_of_each_system(score_files, tables_folder):
    for (system, loss), run_name in {("s1", "WCE"): "baseline", ("s1", "VS"): "s1", ("t2", "WCE"): "t1"}.items():
        row = record(tables_folder, "table2", system=system, loss=loss, split="validation")
        assert row["value"] == read_json(score_files[run_name])["validation"]["macro_f1"]
        assert row["paper"] == pytest.approx(paper.loss_f1(system, loss.lower()))
    rows = [[cell["text"] for cell in row[:2]] for row in read_json(tables_folder / "table2.json")["table"]["rows"]]
    assert rows == [["s1", "WCE"], ["s1", "VS"], ["t2", "WCE"], ["t2", "VS"]]
    best = [row[2]["best"] for row in read_json(tables_folder / "table2.json")["table"]["rows"]]
    assert best == [False, True, False, True]


def test_table3_contains_f1_of_the_classes_and_their_mean(score_files, tables_folder):
    table = pd.read_csv(tables_folder / "table3.csv")
    for name in SETTINGS["components"]:
        for split in SPLITS:
            scores = read_json(score_files[name])[split]
            rows = table[(table["system"] == name) & (table["split"] == split)].set_index("class")
            of_classes = rows.loc[list(CLASSES), "value"]
            assert of_classes.to_dict() == pytest.approx(scores["per_class_f1"])
            assert of_classes.mean() == pytest.approx(rows[rows["measure"] == "macro_f1"]["value"].item())
            paper_value = {
                letter: paper.class_f1("abhinaya" if name == "vote" else name, letter, split) for letter in CLASSES
            }
            assert rows.loc[list(CLASSES), "paper"].dropna().to_dict() == pytest.approx(
                {letter: value for letter, value in paper_value.items() if value is not None}
            )


def test_table3_has_published_f1_only_for_the_vote_of_all_five(score_files):
    made = tables.make("table3", inputs_of(score_files, components=["four", "vote"]))
    validation = made.records[(made.records["split"] == "validation") & (made.records["class"] == "F")]
    fear = validation.set_index("system")["paper"]
    assert fear["four"] is None
    assert fear["vote"] == pytest.approx(paper.class_f1("abhinaya", "F", "validation"))


def test_table3_shows_intervals_of_classes_if_scores_have_them(score_files):
    inputs = inputs_of(score_files, components=["s1", "s2"])
    for name in ("s1", "s2"):
        for split in SPLITS:
            inputs.scores[name][split].pop("per_class_f1_interval", None)
    without = tables.make("table3", inputs)
    inputs.scores["s1"]["validation"]["per_class_f1_interval"] = {"A": None, "F": [0.1, 0.25]}
    made = tables.make("table3", inputs)
    for before, after, column in zip(without.table.rows[0], made.table.rows[0], made.table.columns, strict=True):
        if column == "fear (F)":
            assert (before.detail, after.detail) == ("", "[10.0, 25.0]")
        else:
            assert before == after
    column = made.table.columns.index("fear (F)")
    assert made.table.rows[1][0].text == "s1: paper" and made.table.rows[1][column].text == "12.22"
    assert made.table.rows[2][0].text == "s1: in our interval" and made.table.rows[2][column].text == "yes"
    assert without.table.rows[2][column].text == MISSING


@pytest.mark.parametrize(
    ("interval", "published", "shown", "verdict"),
    [
        ([0.26449, 0.35], 0.2641, "[26.4, 35.0]", "yes"),
        ([0.2646, 0.35], 0.2647, "[26.5, 35.0]", "no"),
        ([0.2, 0.26409], 0.2641, "[20.0, 26.4]", "no"),
    ],
)
def test_verdict_agrees_with_the_displayed_interval(interval, published, shown, verdict):
    value = Value(0.3, interval, published, digits=1)
    low, high = (float(end) for end in value.ours().detail.strip("[]").split(", "))
    assert value.ours().detail == shown
    assert value.verdict().text == verdict == ("yes" if low <= round(100 * published, 2) <= high else "no")


def test_macro_f1_other_than_the_mean_of_f1_is_reported(score_files):
    inputs = inputs_of(score_files)
    inputs.scores["t2"]["test"]["per_class_f1"]["A"] = 0.0
    with pytest.raises(UserError, match=r"t2: .* on test .* score its predictions again"):
        tables.make("table3", inputs)


def test_undefined_class_is_excluded_from_the_mean(score_files):
    inputs = inputs_of(score_files, components=["s1"])
    found = inputs.scores["s1"]["test"]
    found["per_class_f1"]["C"] = found["per_class_f1_interval"]["C"] = None
    found["macro_f1"] = statistics.fmean(value for value in found["per_class_f1"].values() if value is not None)
    row = tables.make("table3", inputs).table.rows[-1]
    assert row[2] == Cell(MISSING)


@pytest.mark.parametrize(("total", "verdict"), [(0.3001, "equal within"), (0.3002, "different by more than")])
def test_table3_checks_the_mean_of_the_published_f1(score_files, monkeypatch, total, verdict):
    monkeypatch.setattr(paper, "class_f1", lambda system, letter, split: 0.3 if split == "test" else None)
    monkeypatch.setattr(paper, "macro_f1", lambda system, split: total)
    notes = tables.make("table3", inputs_of(score_files, components=["s1"])).notes
    text = (
        f"s1 on test: the mean of the paper's eight F1 is 30.000, its macro-F1 {100 * total:.2f}: {verdict} rounding."
    )
    assert text in notes
    assert not any("s1 on validation" in note for note in notes)


def test_table4_compares_votes_by_their_members(score_files, tables_folder):
    row = record(tables_folder, "table4", system="four", split="validation")
    assert (row["members"], row["tie-breaker"]) == ("st1 t2 s2 s1", "s2")
    assert row["paper"] == pytest.approx(paper.vote_f1(["s1", "s2", "t2", "st1"], "validation"))
    assert row["value"] == read_json(score_files["four"])["validation"]["macro_f1"]
    row = record(tables_folder, "table4", system="vote", split="test")  # all five, not a combination
    assert (row["members"], row["tie-breaker"]) == (" ".join(FIVE), "s2")
    assert row["paper"] == pytest.approx(paper.vote_f1(FIVE, "test"))
    assert shown(tables_folder, "table4", "four")[0]["text"] == "st1 t2 s2 s1"
    made = tables.make("table4", inputs_of(score_files, ensembles={}))
    assert [row[2].text for row in made.table.rows] == ["s2", MISSING]


@pytest.mark.parametrize("table", ["table1", "table3", "table4"])
def test_a_vote_with_another_tie_breaker_has_no_published_values(score_files, table):
    vote = {"members": FIVE, "tie_break": "st1"}
    made = tables.make(table, inputs_of(score_files, ensembles={"vote": vote}))
    assert made.records.set_index("system").loc["vote", "paper"].isna().all()
    assert "tie-breaker" in made.notes[0]


def test_the_submitted_vote_is_compared_with_that_of_the_paper(score_files, tables_folder):
    found = {name: record(tables_folder, "table1_submitted", system=name, split="test") for name in ("early", "vote")}
    assert found["early"]["paper"] == pytest.approx(0.4181)
    assert found["vote"]["paper"] == pytest.approx(0.4402)
    assert found["early"]["value"] == read_json(score_files["early"])["test"]["macro_f1"]


def test_figure2_compares_systems_by_their_llm(score_files, tables_folder):
    assert pd.isna(
        record(tables_folder, "figure2", system="t1", split="validation")["paper"]
    )  # another model than the paper's T1
    row = record(tables_folder, "figure2", system="t2", split="validation")
    assert row["paper"] == pytest.approx(paper.zero_shot_f1("Llama-3.1-8B", "validation"))
    made = tables.make("figure2", inputs_of(score_files, zero_shot_models={}))
    assert f"{100 * paper.macro_f1('t1', 'validation'):.2f}" in [cell.text for cell in made.table.rows[0]]
    made = tables.make("figure2", inputs_of(score_files, zero_shot={"models": ["t1", "s1_1"], "line": "t2"}))
    assert [row[1].best for row in made.table.rows] == [False, True, False]  # the line is not compared with the models


def test_figure2_is_inline_and_a_file(tables_folder):
    alone = (tables_folder / "figure2.svg").read_text()
    inline = read_json(tables_folder / "figure2.json")["figure"]
    for text in (alone, inline):
        root = ElementTree.fromstring(text)
        words = {"".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")}
        assert {"t1", "t2", "validation", "test", "macro-F1 (%)", "baseline, ours", "the paper"} <= words
        assert {cell["text"] for row in ("t1", "t2") for cell in shown(tables_folder, "figure2", row)[::3]} <= words
    assert "var(--" not in alone and "#0072b2" in alone
    assert re.search(r'id="patch_1">\s*<path d="[^"]*" style="fill: #ffffff"', alone)  # the background
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", alone + inline)  # no placeholder is left
    assert "var(--blue)" in inline and "#ffffff" not in inline


def test_figure2_without_a_line_or_published_values(score_files, tmp_path):
    zero_shot = {"models": ["t1", "s1_1"], "line": None}
    made = tables.make("figure2", inputs_of(score_files, zero_shot=zero_shot))
    assert "baseline" not in made.svg and "the paper" not in made.svg and "ours, with interval" in made.svg
    inputs = inputs_of(score_files, zero_shot=zero_shot)
    inputs.scores["t1"]["test"] = None
    assert MISSING in tables.make("figure2", inputs).svg
    for name in ("t1", "s1_1"):
        inputs.scores[name] |= dict.fromkeys(SPLITS)
    made = tables.make("figure2", inputs)
    assert made.figure is None and made.svg is None
    assert [path.suffix for path in tables.write("figure2", made, tmp_path)] == [".csv", ".md", ".tex", ".json"]


def test_section_4_1_counts_the_corpus(score_files, tables_folder):
    table = pd.read_csv(tables_folder / "section_4_1.csv").set_index(["split", "measure", "class"])["value"]
    train = table["train"]
    assert train["utterances", np.nan] == 9
    assert (train["labelled", np.nan], train["utterances", "A"], train["utterances", "D"]) == (7, 5, 0)
    assert train["imbalance", np.nan] == 2.5  # X is not one of the eight emotions
    assert train["utterances", "X"] == 1
    assert train["hours", np.nan] == pytest.approx(9 / 60)
    assert train["speakers", np.nan] == 7
    assert table["validation"]["utterances", "U"] == 10
    published = pd.read_csv(tables_folder / "section_4_1.csv").set_index(["split", "measure", "class"])["paper"]
    assert published["train"]["utterances", "H"] == paper.counts("train")["H"]
    assert published["train"]["imbalance", np.nan] == pytest.approx(29239 / 1120)
    assert pd.isna(published["test"]["utterances", "A"])
    assert shown(tables_folder, "section_4_1", "angry (A)")[0] == {"text": "5", "detail": "(71.43 %)", "best": False}


def test_section_4_1_without_labels_or_with_absent_splits(score_files):
    inputs = inputs_of(score_files)
    inputs.summary["splits"] = {
        "train": {"utterances": 3, "hours": 0.1, "speakers": 1, "classes": {}, "imbalance": None}
    }
    made = tables.make("section_4_1", inputs)
    shown_rows = {row[0].text: [cell.text for cell in row[1:]] for row in made.table.rows}
    assert shown_rows["utterances"][::2] == ["3", MISSING, MISSING]
    assert shown_rows["fear (F)"][::2] == [MISSING] * 3


def test_section_4_6_contains_the_difference(score_files, tables_folder):
    ours = {name: read_json(score_files[name])["test"]["macro_f1"] for name in ("s2", "st1")}
    row = record(tables_folder, "section_4_6", system="st1 − s2", split="test")
    assert row["value"] == pytest.approx(ours["st1"] - ours["s2"])
    points = 100 * (ours["st1"] - ours["s2"])
    assert shown(tables_folder, "section_4_6", "st1 − s2")[3]["text"] == f"{points:+.2f}".replace("-", "−")
    paper_value = paper.macro_f1("st1", "validation") - paper.macro_f1("s2_7b", "validation")
    row = record(tables_folder, "section_4_6", system="st1 − s2", split="validation")
    assert row["paper"] == pytest.approx(paper_value)
    assert shown(tables_folder, "section_4_6", "st1 − s2")[1]["text"] == f"{100 * paper_value:+.2f}"
    # Compared by their roles, not by their names.
    assert record(tables_folder, "section_4_6", system="s2", split="validation")["paper"] == paper.macro_f1(
        "s2_7b", "validation"
    )


def test_zero_shot_speech_is_compared_with_salmonn(tables_folder):
    row = record(tables_folder, "zero_shot_speech", system="t1", split="validation")
    assert row["paper"] == pytest.approx(paper.macro_f1("salmonn_zero_shot", "validation"))


def test_seeds_contain_mean_and_deviation(score_files, tables_folder):
    values = [read_json(score_files[name])["test"]["macro_f1"] for name in ("s1", "s1_1")]
    row = record(tables_folder, "seeds", system="s1", split="test")
    assert (row["value"], row["sd"]) == pytest.approx((statistics.fmean(values), statistics.stdev(values)))
    assert (row["lowest"], row["highest"], row["seeds"]) == (min(values), max(values), 2)
    assert row["paper"] == pytest.approx(paper.macro_f1("s1", "test"))
    mean, count, paper_value = shown(tables_folder, "seeds", "s1")[3:]
    assert mean["text"] == f"{100 * statistics.fmean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
    assert mean["detail"] == f"({100 * min(values):.2f} to {100 * max(values):.2f})"
    assert (count["text"], paper_value["text"]) == ("2", f"{100 * paper.macro_f1('s1', 'test'):.2f}")
    alone = shown(tables_folder, "seeds", "t2")
    assert (alone[0]["detail"], alone[1]["text"]) == ("", "1") and "±" not in alone[0]["text"]


def test_seeds_compare_an_ensemble_by_its_members(score_files):
    runs = {"vote": {"1": "four", "2": "s1_1"}}  # not the run of the ensemble
    inputs = tables.read(
        tables.Settings.model_validate(SETTINGS | {"seed_runs": runs}),
        ["four", "s1_1"],
        [score_files["four"], score_files["s1_1"]],
        [],
    )
    row = tables.make("seeds", inputs).records.iloc[-1]
    assert (row["system"], row["split"], row["paper"]) == ("vote", "test", pytest.approx(paper.vote_f1(FIVE, "test")))


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("synthetic", "another corpus (synthetic)"),
        ("csv", "other corpora or models"),
        (None, "other corpora or models"),
        ("msp_podcast", "another random validation set"),
    ],
)
def test_note_depends_on_the_corpus(kind, part):
    note = corpus_note({} if kind is None else {"kind": kind})
    assert part in note
    assert ("not comparable" in note) == (kind != "msp_podcast")
