import json
import re
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import make_paper_table as script
from abhinaya.data.corpora.summary import summarise
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation import metrics
from abhinaya.labels import CLASSES
from abhinaya.reporting import paper as tables
from abhinaya.reporting.paper import published as paper
from abhinaya.reporting.paper.compare import Value, best_of, corpus_note
from abhinaya.reporting.table import LATEX, NOTHING, Cell, Table, latex
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json, write_json

SCRIPTS = Path(script.__file__).parent
SPLITS = ("validation", "test")
FIVE = ["s1", "s2", "t1", "t2", "st1"]
SKILL = {
    "baseline": 0.1,
    "s1": 0.4,
    "s2": 0.3,
    "t1": 0.2,
    "t2": 0.7,
    "st1": 0.35,
    "four": 0.5,
    "vote": 0.6,
    "s1_1": 0.5,
}
SETTINGS = {
    "components": ["baseline", *FIVE, "vote"],
    "losses": {"systems": ["s1", "t2"], "losses": [{"name": "wce"}, {"name": "vs", "gamma": 0.3}]},
    "loss_runs": {"s1": {"wce": "baseline", "vs": "s1"}, "t2": {"wce": "t1", "vs": "t2"}},
    "combinations": {"four": {"members": ["st1", "t2", "s2", "s1"], "tie_break": "st1", "tie_rule": "label"}},
    "ensembles": {"vote": {"members": FIVE, "tie_break": "s2", "tie_rule": "label"}},
    "zero_shot": {"models": ["t1", "t2"], "line": "baseline"},
    "zero_shot_models": {"t1": "package:small", "t2": "meta-llama/Llama-3.1-8B-Instruct"},
    "modalities": ["s2", "st1"],
    "speech_zero_shot": "t1",
    "seed_runs": {"s1": {"1234": "s1", "1": "s1_1"}, "t2": {"1234": "t2"}},
}


def check_latex(text: str, columns: int) -> list[list[str]]:
    """Parse a table as far as TeX would; the cells of its body, a list a line."""
    assert text.startswith("% \\usepackage{booktabs}\n")
    text = text.partition("\n")[2]
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert open_environments == []
    plain = re.sub(r"\\[&%$#_{}]", "", re.sub(r"\\label\{.*?\}", "", text))
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"[%#_~^`<>|]", plain)
    assert re.sub(r"\$-\$|\$\\pm\$", "", plain).count("$") == 0
    assert not re.search(r"\\\\\s*[\[*]", text)
    body = re.search(r"\\toprule\n(.*)\\bottomrule", text, re.DOTALL)[1]
    rows = []
    for line in body.splitlines():
        if line.startswith(("\\cmidrule", "\\midrule")):
            continue
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        wide = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(cells) + sum(wide) - len(wide) == columns
        rows.append([cell.strip() for cell in cells])
    return rows


def unescape(text: str) -> str:
    plain = {code: character for character, code in LATEX.items()}
    longest_first = sorted(map(re.escape, plain), key=len, reverse=True)
    return re.sub("|".join(longest_first), lambda match: plain[match[0]], text)


def markdown_cells(line: str) -> list[str]:
    """The cells of a line, as GitHub splits it: a backslash takes the meaning from what follows it."""
    cells = re.findall(r"\|((?:\\.|[^\\|])*)(?=\|)", line)
    return [re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Scores of systems of different skill, as score.py leaves them, and a corpus's summary."""
    root = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(5)
    truth = np.tile(list(CLASSES), 20)
    names = [f"u{index:03d}.wav" for index in range(len(truth))]
    manifest = pd.DataFrame({"FileName": names, "EmoClass": truth, "split": np.repeat(SPLITS, len(truth) // 2)})
    for system, skill in SKILL.items():
        labels = np.where(rng.random(len(truth)) < skill, truth, rng.choice(list(CLASSES), len(truth)))
        certain = pd.DataFrame(labels[:, None] == np.array(CLASSES), columns=list(PROBABILITIES)).astype(float)
        guesses = certain.assign(FileName=names, Split=manifest["split"], EmoClass=labels)
        write_json(metrics.score(manifest, guesses, resamples=50), root / f"{system}.json")
    train = pd.DataFrame({"EmoClass": [*"AAAAACCX", None], "split": "train"})
    rows = pd.concat([train, manifest[["EmoClass", "split"]]], ignore_index=True)
    summary = summarise(rows.assign(SpkrID=rows.index % 7, Gender="Female", duration=60.0), 0)
    write_json(summary, root / "summary.json")
    return {"summary": root / "summary.json", **{name: root / f"{name}.json" for name in SKILL}}


def arguments(files: dict[str, Path], table: str, folder: Path, settings: dict = SETTINGS) -> list[str]:
    return [
        *("--table", table, "--settings", json.dumps(settings), "--names", *SKILL),
        *("--scores", *[str(files[name]) for name in SKILL], "--votes", f"vote={','.join(FIVE)}"),
        *("--summary", str(files["summary"]), "--output-dir", str(folder)),
    ]


def run(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["make_paper_table.py", *given])
    script.main()


@pytest.fixture(scope="module")
def written(files, tmp_path_factory) -> Path:
    """The folder of all tables, made by the script."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for table in tables.TABLES:
            run(monkeypatch, arguments(files, table, folder))
    return folder


def record(folder: Path, table: str, **where: str) -> pd.Series:
    """The one row of a CSV where columns have these values."""
    rows = pd.read_csv(folder / f"{table}.csv", float_precision="round_trip")
    for column, value in where.items():
        rows = rows[rows[column] == value]
    (_, row), *others = rows.iterrows()
    assert not others
    return row


def shown(folder: Path, table: str, name: str) -> list[dict]:
    """The cells after the name, of the one row of a table that has it."""
    (row,) = [row for row in read_json(folder / f"{table}.json")["table"]["rows"] if row[0]["text"] == name]
    return row[1:]


def inputs_of(files: dict[str, Path], **settings: object) -> tables.Inputs:
    given = tables.Settings.model_validate(SETTINGS | settings)
    names = list(SKILL)
    votes = [f"vote={','.join(FIVE)}"]
    return tables.read(given, names, [files[name] for name in names], votes, files["summary"])


@pytest.mark.parametrize("table", tables.TABLES)
def test_all_files_of_a_table_say_the_same(written, table):
    described = read_json(written / f"{table}.json")
    held = TypeAdapter(Table).validate_python(described["table"])
    assert json.loads(json.dumps(asdict(held))) == described["table"]
    assert all(len(row) == len(held.columns) for row in held.rows)
    markdown = (written / f"{table}.md").read_text()
    head, rule, *lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert markdown_cells(head) == held.headings()
    assert set(rule) <= set("|-: ")
    assert len(lines) == len(held.rows)
    for line, row in zip(lines, held.rows, strict=True):
        assert len(markdown_cells(line)) == len(row)
    body = check_latex((written / f"{table}.tex").read_text(), len(held.columns))
    told = {unescape(re.sub(r"\\(textbf|scriptsize) ?", "", cell)).strip("{} ") for row in body for cell in row}
    assert {text for row in held.rows for cell in row for text in (cell.text, cell.detail)} <= told
    for text in (described["title"], described["caption"], *described["notes"]):
        assert text in markdown
        assert text in unescape((written / f"{table}.tex").read_text())
    assert described["name"] == table
    assert list(pd.read_csv(written / f"{table}.csv").columns)


def test_table1_holds_the_scores_their_intervals_and_the_papers(files, written):
    for name in SETTINGS["components"]:
        for split in SPLITS:
            scores = read_json(files[name])[split]
            row = record(written, "table1", system=name, split=split)
            assert (row["value"], row["n"]) == (scores["macro_f1"], scores["n"])
            assert [row["low"], row["high"]] == scores["macro_f1_interval"]
            theirs = paper.vote_f1(FIVE, split) if name == "vote" else paper.macro_f1(name, split)
            assert row["paper"] == pytest.approx(theirs) if theirs is not None else pd.isna(row["paper"])
            ours, published, verdict = shown(written, "table1", name)[3 * SPLITS.index(split) :][:3]
            assert ours["text"] == f"{100 * scores['macro_f1']:.2f}"
            assert ours["detail"] == "[{:.2f}, {:.2f}]".format(*(100 * end for end in scores["macro_f1_interval"]))
            assert published["text"] == (NOTHING if theirs is None else f"{100 * theirs:.2f}")
            assert verdict["text"] == (NOTHING if theirs is None else row["paper_in_interval"])


def test_the_best_is_bold_everywhere(written):
    best = [row for row in read_json(written / "table1.json")["table"]["rows"] if row[1]["best"]]
    assert [row[0]["text"] for row in best] == ["t2"]
    text = best[0][1]["text"]
    assert f"**{text}** [" in (written / "table1.md").read_text()
    assert rf"\textbf{{{text}}}" in (written / "table1.tex").read_text()
    assert not any(cell["best"] for cell in shown(written, "zero_shot_speech", "t1"))  # no rival
    assert not any(cell["best"] for row in read_json(written / "table1.json")["table"]["rows"] for cell in row[2:4])


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
def test_the_best_is_sought_among_rivals(values, best):
    assert best_of(values) == best


def test_captions_tell_how_intervals_were_drawn(written):
    caption = read_json(written / "table1.json")["caption"]
    assert "validation n = 80, test n = 80" in caption
    assert "95 % interval of 50 bootstrap resamples" in caption and "seed 1234" in caption


@pytest.mark.parametrize(
    ("value", "interval", "theirs", "inside", "text", "detail"),
    [
        (0.40, [0.35, 0.4402], 0.4402, True, "yes", ""),
        (0.40, [0.35, 0.440249], 44.02 / 100, True, "yes", ""),  # all are shown as 44.02
        (0.40, [0.35, 0.440151], 44.02 / 100, True, "yes", ""),
        (0.40, [0.35, 0.440149], 44.02 / 100, False, "no", "(above it)"),
        (0.46, [0.4402, 0.48], 0.4402, True, "yes", ""),
        (0.46, [0.440251, 0.48], 0.4402, False, "no", "(below it)"),
        (0.46, [0.46, 0.46], 0.46, None, NOTHING, ""),  # resampling cannot tell how sure it is
        (0.30, [0.35, 0.40], 0.33, False, "no", "(below it)"),  # an interval need not hold our own value
        (0.46, [0.44, 0.48], None, None, NOTHING, ""),
        (0.46, None, 0.46, None, NOTHING, ""),
        (None, None, 0.46, None, NOTHING, ""),
    ],
)
def test_whether_the_papers_value_lies_in_our_interval(value, interval, theirs, inside, text, detail):
    one = Value(value, interval, theirs)
    assert one.inside is inside
    assert one.verdict() == Cell(text, detail)
    assert one.record()["paper_in_interval"] == {True: "yes", False: "no", None: None}[inside]


def test_a_split_without_scores_is_a_dash(files, tmp_path):
    inputs = inputs_of(files, components=["baseline", "s1"])
    for name in ("baseline", "s1"):
        inputs.scores[name]["test"] = None
    made = tables.make("table1", inputs)
    tables.write("table1", made, tmp_path)
    for name in ("baseline", "s1"):
        ours, theirs, verdict = shown(tmp_path, "table1", name)[3:]
        assert (ours["text"], ours["detail"], ours["best"], verdict["text"]) == (NOTHING, "", False, NOTHING)
        assert theirs["text"] == f"{100 * paper.macro_f1(name, 'test'):.2f}"
        assert record(tmp_path, "table1", system=name, split="test").isna().sum() == 5  # n, three of ours, the verdict
    assert "test n" not in made.caption
    tables.write("table3", tables.make("table3", inputs), tmp_path)
    assert not (pd.read_csv(tmp_path / "table3.csv")["split"] == "test").any()


def test_nothing_scored_makes_a_table_without_numbers(files, tmp_path):
    inputs = inputs_of(files, components=["s1_1"])
    inputs.scores["s1_1"] |= dict.fromkeys(SPLITS)
    for table in ("table1", "table3"):
        made = tables.make(table, inputs)
        tables.write(table, made, tmp_path)
        assert (tmp_path / f"{table}.csv").read_text().startswith("system,split,measure,")
        assert "No utterances with labels" in made.caption
        check_latex((tmp_path / f"{table}.tex").read_text(), len(made.table.columns))


def test_table2_compares_the_losses_of_each_system(files, written):
    for (system, loss), run_name in {("s1", "WCE"): "baseline", ("s1", "VS"): "s1", ("t2", "WCE"): "t1"}.items():
        row = record(written, "table2", system=system, loss=loss, split="validation")
        assert row["value"] == read_json(files[run_name])["validation"]["macro_f1"]
        assert row["paper"] == pytest.approx(paper.loss_f1(system, loss.lower()))
    rows = [[cell["text"] for cell in row[:2]] for row in read_json(written / "table2.json")["table"]["rows"]]
    assert rows == [["s1", "WCE"], ["s1", "VS"], ["t2", "WCE"], ["t2", "VS"]]
    best = [row[2]["best"] for row in read_json(written / "table2.json")["table"]["rows"]]
    assert best == [False, True, False, True]


def test_table3_holds_f1_of_the_classes_and_their_mean(files, written):
    table = pd.read_csv(written / "table3.csv")
    for name in SETTINGS["components"]:
        for split in SPLITS:
            scores = read_json(files[name])[split]
            rows = table[(table["system"] == name) & (table["split"] == split)].set_index("class")
            of_classes = rows.loc[list(CLASSES), "value"]
            assert of_classes.to_dict() == pytest.approx(scores["per_class_f1"])
            assert of_classes.mean() == pytest.approx(rows[rows["measure"] == "macro_f1"]["value"].item())
            theirs = {
                letter: paper.class_f1("abhinaya" if name == "vote" else name, letter, split) for letter in CLASSES
            }
            assert rows.loc[list(CLASSES), "paper"].dropna().to_dict() == pytest.approx(
                {letter: value for letter, value in theirs.items() if value is not None}
            )


def test_table3_has_the_papers_classes_for_a_vote_of_all_five_alone(files):
    made = tables.make("table3", inputs_of(files, components=["four", "vote"]))
    validation = made.records[(made.records["split"] == "validation") & (made.records["class"] == "F")]
    fear = validation.set_index("system")["paper"]
    assert fear["four"] is None
    assert fear["vote"] == pytest.approx(paper.class_f1("abhinaya", "F", "validation"))


def test_table3_shows_intervals_where_the_scores_have_them(files):
    inputs = inputs_of(files, components=["s1", "s2"])
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
    assert without.table.rows[2][column].text == NOTHING


@pytest.mark.parametrize(
    ("interval", "published", "shown", "verdict"),
    [
        ([0.26449, 0.35], 0.2641, "[26.4, 35.0]", "yes"),
        ([0.2646, 0.35], 0.2647, "[26.5, 35.0]", "no"),
        ([0.2, 0.26409], 0.2641, "[20.0, 26.4]", "no"),
    ],
)
def test_a_verdict_agrees_with_the_interval_as_it_is_shown(interval, published, shown, verdict):
    value = Value(0.3, interval, published, digits=1)
    low, high = (float(end) for end in value.ours().detail.strip("[]").split(", "))
    assert value.ours().detail == shown
    assert value.verdict().text == verdict == ("yes" if low <= round(100 * published, 2) <= high else "no")


def test_table3_refuses_f1_that_do_not_average_to_macro_f1(files):
    inputs = inputs_of(files)
    inputs.scores["t2"]["test"]["per_class_f1"]["A"] = 0.0
    with pytest.raises(UserError, match=r"t2: F1 of the classes on test average to .* score its predictions again"):
        tables.make("table3", inputs)


def test_an_undefined_class_is_no_part_of_the_mean(files):
    inputs = inputs_of(files, components=["s1"])
    found = inputs.scores["s1"]["test"]
    found["per_class_f1"]["C"] = found["per_class_f1_interval"]["C"] = None
    found["macro_f1"] = statistics.fmean(value for value in found["per_class_f1"].values() if value is not None)
    row = tables.make("table3", inputs).table.rows[-1]
    assert row[2] == Cell(NOTHING)


@pytest.mark.parametrize(("total", "told"), [(0.3001, "as printed"), (0.3002, "but 30.02 is printed")])
def test_table3_says_whether_the_papers_columns_average(files, monkeypatch, total, told):
    monkeypatch.setattr(paper, "class_f1", lambda system, letter, split: 0.3 if split == "test" else None)
    monkeypatch.setattr(paper, "macro_f1", lambda system, split: total)
    notes = tables.make("table3", inputs_of(files, components=["s1"])).notes
    assert f"The paper's columns of s1 on test average to 30.00, {told}." in notes
    assert not any("validation average" in note for note in notes)


def test_table4_finds_the_paper_by_the_members(files, written):
    row = record(written, "table4", system="four", split="validation")
    assert (row["members"], row["tie-breaker"]) == ("st1 t2 s2 s1", "st1")
    assert row["paper"] == pytest.approx(paper.vote_f1(["s1", "s2", "t2", "st1"], "validation"))
    assert row["value"] == read_json(files["four"])["validation"]["macro_f1"]
    row = record(written, "table4", system="vote", split="test")  # all five, though no combination
    assert (row["members"], row["tie-breaker"]) == (" ".join(FIVE), "s2")
    assert row["paper"] == pytest.approx(paper.vote_f1(FIVE, "test"))
    assert shown(written, "table4", "four")[0]["text"] == "st1 t2 s2 s1"
    made = tables.make("table4", inputs_of(files, ensembles={}))
    assert [row[2].text for row in made.table.rows] == ["st1", NOTHING]


def test_figure2_asks_the_paper_by_the_model(files, written):
    assert pd.isna(
        record(written, "figure2", system="t1", split="validation")["paper"]
    )  # another model than the paper's T1
    row = record(written, "figure2", system="t2", split="validation")
    assert row["paper"] == pytest.approx(paper.zero_shot_f1("Llama-3.1-8B", "validation"))
    made = tables.make("figure2", inputs_of(files, zero_shot_models={}))
    assert f"{100 * paper.macro_f1('t1', 'validation'):.2f}" in [cell.text for cell in made.table.rows[0]]
    made = tables.make("figure2", inputs_of(files, zero_shot={"models": ["t1", "s1_1"], "line": "t2"}))
    assert [row[1].best for row in made.table.rows] == [False, True, False]  # the line is no rival of the models


def test_figure2_is_drawn_for_the_page_and_alone(written):
    alone = (written / "figure2.svg").read_text()
    inline = read_json(written / "figure2.json")["figure"]
    for text in (alone, inline):
        root = ElementTree.fromstring(text)
        words = {"".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")}
        assert {"t1", "t2", "validation", "test", "macro-F1 (%)", "baseline, ours", "the paper"} <= words
        assert {cell["text"] for row in ("t1", "t2") for cell in shown(written, "figure2", row)[::3]} <= words
    assert "var(--" not in alone and "#0072b2" in alone
    assert re.search(r'id="patch_1">\s*<path d="[^"]*" style="fill: #ffffff"', alone)  # its ground
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", alone + inline)  # no placeholder is left
    assert "var(--blue)" in inline and "#ffffff" not in inline


def test_figure2_without_a_line_or_published_values(files, tmp_path):
    zero_shot = {"models": ["t1", "s1_1"], "line": None}
    made = tables.make("figure2", inputs_of(files, zero_shot=zero_shot))
    assert "baseline" not in made.svg and "the paper" not in made.svg and "ours, with its interval" in made.svg
    inputs = inputs_of(files, zero_shot=zero_shot)
    inputs.scores["t1"]["test"] = None
    assert NOTHING in tables.make("figure2", inputs).svg
    for name in ("t1", "s1_1"):
        inputs.scores[name] |= dict.fromkeys(SPLITS)
    made = tables.make("figure2", inputs)
    assert made.figure is None and made.svg is None
    assert [path.suffix for path in tables.write("figure2", made, tmp_path)] == [".csv", ".md", ".tex", ".json"]


def test_section_4_1_counts_the_corpus(files, written):
    table = pd.read_csv(written / "section_4_1.csv").set_index(["split", "measure", "class"])["value"]
    train = table["train"]
    assert train["utterances", np.nan] == 9
    assert (train["labelled", np.nan], train["utterances", "A"], train["utterances", "D"]) == (7, 5, 0)
    assert train["imbalance", np.nan] == 2.5  # X is no emotion of the eight
    assert train["utterances", "X"] == 1
    assert train["hours", np.nan] == pytest.approx(9 / 60)
    assert train["speakers", np.nan] == 7
    assert table["validation"]["utterances", "U"] == 10
    published = pd.read_csv(written / "section_4_1.csv").set_index(["split", "measure", "class"])["paper"]
    assert published["train"]["utterances", "H"] == paper.counts("train")["H"]
    assert published["train"]["imbalance", np.nan] == pytest.approx(29239 / 1120)
    assert pd.isna(published["test"]["utterances", "A"])
    assert shown(written, "section_4_1", "angry (A)")[0] == {"text": "5", "detail": "(71.43 %)", "best": False}


def test_section_4_1_without_labels_or_with_absent_splits(files):
    inputs = inputs_of(files)
    inputs.summary["splits"] = {
        "train": {"utterances": 3, "hours": 0.1, "speakers": 1, "classes": {}, "imbalance": None}
    }
    made = tables.make("section_4_1", inputs)
    shown_rows = {row[0].text: [cell.text for cell in row[1:]] for row in made.table.rows}
    assert shown_rows["utterances"][::2] == ["3", NOTHING, NOTHING]
    assert shown_rows["fear (F)"][::2] == [NOTHING] * 3


def test_section_4_6_gives_the_difference(files, written):
    ours = {name: read_json(files[name])["test"]["macro_f1"] for name in ("s2", "st1")}
    row = record(written, "section_4_6", system="st1 − s2", split="test")
    assert row["value"] == pytest.approx(ours["st1"] - ours["s2"])
    points = 100 * (ours["st1"] - ours["s2"])
    assert shown(written, "section_4_6", "st1 − s2")[3]["text"] == f"{points:+.2f}".replace("-", "−")
    theirs = paper.macro_f1("st1", "validation") - paper.macro_f1("s2_7b", "validation")
    row = record(written, "section_4_6", system="st1 − s2", split="validation")
    assert row["paper"] == pytest.approx(theirs)
    assert shown(written, "section_4_6", "st1 − s2")[1]["text"] == f"{100 * theirs:+.2f}"
    # The roles are the paper's whatever our systems are called.
    assert record(written, "section_4_6", system="s2", split="validation")["paper"] == paper.macro_f1(
        "s2_7b", "validation"
    )


def test_salmonn_zero_shot_is_a_role(written):
    row = record(written, "zero_shot_speech", system="t1", split="validation")
    assert row["paper"] == pytest.approx(paper.macro_f1("salmonn_zero_shot", "validation"))


def test_seeds_give_mean_and_deviation(files, written):
    values = [read_json(files[name])["test"]["macro_f1"] for name in ("s1", "s1_1")]
    row = record(written, "seeds", system="s1", split="test")
    assert (row["value"], row["sd"]) == pytest.approx((statistics.fmean(values), statistics.stdev(values)))
    assert (row["lowest"], row["highest"], row["seeds"]) == (min(values), max(values), 2)
    assert row["paper"] == pytest.approx(paper.macro_f1("s1", "test"))
    mean, count, theirs = shown(written, "seeds", "s1")[3:]
    assert mean["text"] == f"{100 * statistics.fmean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
    assert mean["detail"] == f"({100 * min(values):.2f} to {100 * max(values):.2f})"
    assert (count["text"], theirs["text"]) == ("2", f"{100 * paper.macro_f1('s1', 'test'):.2f}")
    alone = shown(written, "seeds", "t2")
    assert (alone[0]["detail"], alone[1]["text"]) == ("", "1") and "±" not in alone[0]["text"]


def test_seeds_know_an_ensemble_by_its_members(files):
    runs = {"vote": {"1": "four", "2": "s1_1"}}  # none of them the ensemble's own run
    inputs = tables.read(
        tables.Settings.model_validate(SETTINGS | {"seed_runs": runs}),
        ["four", "s1_1"],
        [files["four"], files["s1_1"]],
        [],
    )
    row = tables.make("seeds", inputs).records.iloc[-1]
    assert (row["system"], row["split"], row["paper"]) == ("vote", "test", pytest.approx(paper.vote_f1(FIVE, "test")))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("synthetic", "another corpus (synthetic)"),
        ("csv", "On another corpus or with other models"),
        (None, "On another corpus or with other models"),
        ("msp_podcast", "another draw of the validation set"),
    ],
)
def test_the_note_follows_the_corpus(kind, told):
    note = corpus_note({} if kind is None else {"kind": kind})
    assert told in note
    assert ("othing follows" in note) == (kind != "msp_podcast")


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("table9", {}, "no table 'table9'; choose from table1, table2"),
        ("table1", {"components": []}, "`tables.components`: empty"),
        ("table3", {"components": []}, "`tables.components`: empty"),
        ("table2", {"losses": None}, "`tables.losses`: empty"),
        ("table2", {"losses": {"systems": [], "losses": []}}, "`tables.losses`: empty"),
        ("table2", {"loss_runs": {"s1": {"wce": "baseline"}}}, "no run of s1 with vs"),
        ("table4", {"combinations": {}}, "`tables.combinations`: empty"),
        ("figure2", {"zero_shot": None}, "`tables.zero_shot`: empty"),
        ("figure2", {"zero_shot": {"models": []}}, "`tables.zero_shot`: empty"),
        ("section_4_6", {"modalities": []}, "`tables.modalities`: empty"),
        ("section_4_6", {"modalities": ["s1", "s1"]}, "`tables.modalities`: empty"),
        ("zero_shot_speech", {"speech_zero_shot": None}, "`tables.speech_zero_shot`: empty"),
        ("seeds", {"seed_runs": {}}, "`seeds`: empty"),
        ("table1", {"components": ["s1", "s9"]}, "`tables.components`: no scores of 's9'; give its scores.json"),
        ("seeds", {"seed_runs": {"s1": {"0": "s1_0"}}}, "`seeds`: no scores of 's1_0'"),
        ("figure2", {"zero_shot": {"models": ["t1"], "line": "wavlm"}}, "`tables.zero_shot`: no scores of 'wavlm'"),
        ("table1", {"components": "s1"}, "tables: `components`: must be a list, not 's1'"),
    ],
)
def test_settings_without_a_table_are_reported(files, tmp_path, monkeypatch, table, settings, message):
    with pytest.raises(UserError) as caught:
        run(monkeypatch, arguments(files, table, tmp_path / "out", SETTINGS | settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--names", "s1"], "--names: 1 names \\(1 different\\) for 9 files of --scores"),
        (["--names", *["s1"] * 9], "--names: 9 names \\(1 different\\) for 9 files"),
        (["--votes", "vote"], "--votes: 'vote' names no ensemble and its members"),
        (["--votes", "vote=s1,,s2"], "--votes: 'vote=s1,,s2' names no ensemble"),
        (["--votes", "all=s1,s2", "--table", "table4"], "`--votes`: no scores of 'all'"),
        (["--settings", "{"], "tables: not JSON"),
        (["--settings", "nowhere.json"], "neither JSON"),
        (["--summary", "nowhere.json"], "nowhere.json: .*not found"),
    ],
)
def test_invalid_arguments_are_reported(files, tmp_path, monkeypatch, further, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, [*arguments(files, "table1", tmp_path / "out"), *further])
    assert not (tmp_path / "out").exists()


def test_invalid_files_are_reported(files, tmp_path, monkeypatch):
    broken = tmp_path / "broken.json"
    for content, message in (
        ("[]", "not a JSON object"),
        ("{}", "score.py"),
        ('{"validation": {}}', "validation.n: Field required"),
    ):
        broken.write_text(content)
        with pytest.raises(UserError, match=message):
            run(monkeypatch, arguments({**files, "s1": broken}, "table1", tmp_path / "out"))
    broken.write_text("{}")
    with pytest.raises(UserError, match=r"broken.json: .*`splits`"):
        run(monkeypatch, arguments({**files, "summary": broken}, "section_4_1", tmp_path / "out"))


def test_section_4_1_needs_a_summary(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="`--summary`: empty"):
        run(monkeypatch, ["--table", "section_4_1", "--output-dir", str(tmp_path / "out")])


def test_the_same_inputs_give_the_same_bytes(files, written, tmp_path, monkeypatch):
    run(monkeypatch, arguments(files, "figure2", tmp_path))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (written / path.name).read_bytes()


@pytest.mark.slow
def test_tables_do_not_import_torch():
    code = "import sys, make_paper_table; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


TEXT = st.text() | st.text(alphabet="\\&%$#_{}~^<>|`-–—−± []*\n", max_size=12)


@given(TEXT)
@example("a--b---c – d")
def test_latex_escapes_every_text(text):
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    assert unescape(latex(text)) == line
    assert "--" not in latex(text)  # two hyphens would make a dash


@given(st.data())
def test_any_text_leaves_the_tables_whole(data):
    width = data.draw(st.integers(1, 4))
    texts = st.lists(TEXT, min_size=width, max_size=width)
    rows = [
        [Cell(text, detail, best=index == 1) for index, (text, detail) in enumerate(zip(row, details, strict=True))]
        for row, details in data.draw(st.lists(st.tuples(texts, texts), max_size=3))
    ]
    table = Table(data.draw(texts), rows, [(data.draw(TEXT), width)])
    check_latex(table.latex(data.draw(TEXT), "tab:any", [data.draw(TEXT)]), width)
    lines = table.markdown().splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(len(markdown_cells(line)) == width for line in lines)
    assert TypeAdapter(Table).validate_json(json.dumps(asdict(table))) == table


def test_a_line_that_begins_with_a_bracket_is_no_argument_of_the_break_before():
    table = Table(["[a] longer [than one line]"], [[Cell("[b]", "[c]")], [Cell("*")]])
    text = table.latex("", "tab:any")
    assert check_latex(text, 1)[1:] == [["{}[b]"], [r"{\scriptsize [c]}"], ["{}*"]]
