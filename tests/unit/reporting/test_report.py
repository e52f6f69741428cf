"""The report of scores: its content, links, and messages for invalid inputs."""

import re
from pathlib import Path

import pandas as pd
import pytest

from abhinaya.labels import CLASSES
from abhinaya.reporting import report
from abhinaya.reporting.table import number
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json, write_json
from support.report_parts import EVIL, OF_ANALYSIS, SPLITS, make_inputs, parse, run_script, section


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory) -> Path:
    """The folder of a report with all `inputs`, written by the script."""
    root, folder = inputs["root"], tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_script(
            monkeypatch,
            *("--names", EVIL, "s2", "both"),
            *("--scores", *[root / name / "scores.json" for name in ("s1", "s2", "both")]),
            *("--models", root / "s1" / "model", root / "s2" / "model", "--votes", root / "both" / "preds.csv"),
            *("--summary", inputs["summary"], "--transcripts", inputs["transcripts"]),
            *("--references", inputs["references"], "--title", f"Title {EVIL}", "--output-dir", folder),
        )
    return folder


def test_page_is_valid_and_loads_nothing(written):
    html = (written / "report.html").read_text()
    page = parse(html)
    assert len(page.ids) == len(set(page.ids))
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "image"})
    assert not re.search(r"url\((?!#)|@import", html)
    for text in ("s2 agrees with the vote", "1,234", "4,321", "s2-large, VS γ 0.3 τ 1", "vote of s1 s2"):
        assert text in html


def test_text_from_outside_is_escaped(written):
    html = (written / "report.html").read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 6  # title, system, note, gender, model, figures


def test_figures_use_the_colours_of_the_page(written):
    html = (written / "report.html").read_text()
    assert "var(--blue)" in html
    assert not re.search(r"(fill|stroke): #", html)


def test_tables_equal_the_scores(inputs, written):
    scores, per_class = (
        pd.read_csv(written / f"{name}.csv", float_precision="round_trip") for name in ("scores", "per_class")
    )
    scores, per_class = scores.set_index(["system", "split"]), per_class.set_index(["system", "split", "class"])
    html = (written / "report.html").read_text()
    markdown, by_class = ((written / name).read_text() for name in ("scores.md", "per_class.md"))
    assert len(scores) == 6 and len(per_class) == 48
    for shown, name in ((EVIL, "s1"), ("s2", "s2"), ("both", "both")):
        for split in SPLITS:
            found = read_json(inputs["root"] / name / "scores.json")[split]
            row = scores.loc[(shown, split)]
            assert row["n"] == found["n"]
            for measure in ("macro_f1", "uar", "accuracy"):
                assert row[measure] == found[measure]
                assert [row[f"{measure}_low"], row[f"{measure}_high"]] == found[f"{measure}_interval"]
                assert f"{100 * found[measure]:.2f}" in html and f"{100 * found[measure]:.2f}" in markdown
            for letter in CLASSES:
                line = per_class.loc[(shown, split, letter)]
                assert line["f1"] == found["per_class_f1"][letter]
                assert f"{100 * line['f1']:.2f}" in by_class and f"{100 * line['f1']:.2f}" in html
                assert line["recall"] == found["per_class_recall"][letter]
                assert line["support"] == found["support"][letter]


def test_the_best_of_each_column_is_bold(inputs):
    scores = {name: read_json(inputs["root"] / name / "scores.json") for name in ("s1", "s2")}
    table = report.score_table(report.Inputs("", scores))
    values = {name: scores[name]["test"]["macro_f1"] for name in scores}
    column = table.headings().index("test (n = 40) macro-F1")
    bold = [row[0].text for row in table.rows if row[column].best]
    assert bold == [max(values, key=values.get)]
    assert table.markdown().count("**") == 2 * sum(cell.best for row in table.rows for cell in row)


def test_report_of_scores_alone_has_dashes_for_missing_values(inputs):
    scores = read_json(inputs["root"] / "s1" / "test.json")
    html = report.render(report.Inputs("Alone", {"s1": scores, "t1": {**scores, "test": None}}))
    parse(html)
    assert "<td>–</td>" in html
    for key in ("vote", "training", "corpus", "transcripts", "configuration"):
        assert f'id="{key}"' not in html


def test_report_without_labels():
    scores = {"s1": {"validation": None, "test": None, "unlabelled": {"test": 1000}}}
    html = report.render(report.Inputs("Unlabelled", scores))
    parse(html)
    assert "1,000 test utterances without a label" in html
    assert 'id="confusions"' not in html


@pytest.mark.parametrize(("rejected", "listed"), [(0, False), (None, False), (1, True), (1042, True)])
def test_rejected_utterances_are_a_limitation(rejected, listed):
    scores = {"s1": {"validation": None, "test": None}}
    html = report.render(report.Inputs("Rejected", scores, summary={"utterances": 80, "rejected": rejected}))
    parse(html)
    for key in ("scores", "corpus"):
        assert ("results/corpus/rejected.csv" in section(html, key)) == listed
    assert ("Limitations" in section(html, "scores")) == ("Limitations" in section(html, "summary")) == listed
    assert (f"{number(rejected)} utterance{'' if rejected == 1 else 's'} rejected" in section(html, "scores")) == listed


BROKEN = [
    ({"validation": {}, "test": {"n": 1}}, "validation"),
    ({"validation": None, "test": {"n": 1}}, "test.macro_f1"),
    ({"validation": None, "test": "good"}, "test"),
    ({"validation": None}, "test"),
]


@pytest.mark.parametrize(("content", "where"), BROKEN)
def test_incomplete_scores_are_reported(tmp_path, monkeypatch, content, where):
    write_json(content, tmp_path / "scores.json")
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, "--names", "a", "--scores", tmp_path / "scores.json", "--output-dir", tmp_path / "new")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'scores.json'}: ") and where in message and "score.py" in message
    assert "\n" not in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("table", ["per_class_f1", "per_class_recall", "per_class_precision", "support"])
def test_scores_without_a_class_are_reported(inputs, tmp_path, table):
    scores = read_json(inputs["root"] / "s1" / "scores.json")
    del scores["test"][table]["U"]
    write_json(scores, tmp_path / "scores.json")
    with pytest.raises(UserError, match=rf"scores.json: test\.{table}\.U"):
        report.read("", {"a": tmp_path / "scores.json"}, [], [], [])


@pytest.mark.parametrize("change", [{"confusion": [[1]]}, {"macro_f1_interval": [0.1]}, {"n": "many"}, {"uar": None}])
def test_scores_of_another_shape_are_reported(inputs, tmp_path, change):
    scores = read_json(inputs["root"] / "s1" / "scores.json")
    scores["test"] |= change
    write_json(scores, tmp_path / "scores.json")
    with pytest.raises(UserError, match=rf"scores.json: test\.{next(iter(change))}"):
        report.read("", {"a": tmp_path / "scores.json"}, [], [], [])


@pytest.mark.parametrize("descriptions", ["{s1: a}", '["s1"]', '{"s1": 3}', "null"])
def test_descriptions_must_be_texts_by_name(inputs, tmp_path, monkeypatch, descriptions):
    path = inputs["root"] / "s1" / "scores.json"
    with pytest.raises(UserError, match=r"^--descriptions: .*\{\"s1\": ") as caught:
        run_script(
            monkeypatch,
            "--names",
            "s1",
            "--scores",
            path,
            "--descriptions",
            descriptions,
            "--output-dir",
            tmp_path / "new",
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_configured_description_is_shown(inputs, tmp_path, monkeypatch):
    root = inputs["root"]
    arguments = ("--names", "s2", "--scores", root / "s2" / "test.json", "--models", root / "s2" / "model")
    run_script(monkeypatch, *arguments, "--descriptions", '{"s2": "first trial"}', "--output-dir", tmp_path)
    assert "first trial, VS" in (tmp_path / "scores.md").read_text()


def test_an_ensemble_is_named_after_its_folder(inputs, tmp_path):
    (tmp_path / "vote").symlink_to(inputs["root"] / "both")
    scores = {"vote": inputs["root"] / "both" / "scores.json"}
    assert set(report.read("", scores, [], [], [tmp_path / "vote" / "preds.csv"]).votes) == {"vote"}


def test_the_terminal_shows_the_scores(inputs, monkeypatch, tmp_path, capsys):
    path = inputs["root"] / "s2" / "test.json"
    run_script(monkeypatch, "--names", "[bold]s2", "--scores", path, "--models", "--output-dir", tmp_path)
    printed = capsys.readouterr().out
    assert "[bold]s2" in printed
    assert f"{100 * read_json(path)['test']['macro_f1']:.2f}" in printed


ONE = ("--names", "s2", "--scores", "{root}/s2/scores.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "a", "b", "--scores", "{root}/s1/scores.json"], "--names"),
        (["--names", "a", "--scores", "{root}/s1/model/config.json"], "config.json: .* score.py"),
        (["--names", "a", "--scores", "{root}/nothing.json"], "nothing.json: .*not found"),
        ([*ONE, "--votes", "{root}/s2/preds.csv"], "vote_"),
        ([*ONE, "--models", "{root}/s2/model", "{root}/s1/../s2/model"], "'s2'"),
        ([*ONE, "--models", "{root}/s1/model"], "s1/model: .<script>.*--names"),
        ([*ONE, "--votes", "{root}/both/preds.csv"], "both/preds.csv: 'both'.*--names"),
        ([*ONE, "--descriptions", '{{"s9": "x"}}'], "--descriptions: 's9'"),
        ([*ONE, "--summary", "{root}/s1/scores.json"], "scores.json: .*`splits`"),
        ([*ONE, "--labellings", "{root}/summary.json"], "summary.json: .*`settings`"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(inputs, tmp_path, monkeypatch, arguments, message):
    filled = [argument.format(root=inputs["root"]) for argument in arguments]
    with pytest.raises(UserError, match=message):
        run_script(monkeypatch, *filled, "--output-dir", tmp_path / "report")
    assert not (tmp_path / "report").exists()


LABELLING = {
    "name": "t1",
    "settings": {"family": "zero_shot", "model": "org/<b>llama", "fallback": "N"},
    "versions": {"abhinaya": "1", "openai": "3.54.0"},
    "notes": ["3 empty transcripts were labelled neutral, the fallback."],
    "mode": "word",
    "prompt": "paper",
    "utterances": 1200,
    "counts": {"labelled": 1190, "empty": 3, "unparsable": 5, "refused": 2},
    "tokens": {"prompt": 9, "generated": 9, "generated_per_label": 2.5},
    "labels_per_second": None,
}


def test_report_contains_zero_shot_systems(inputs, tmp_path, monkeypatch):
    root = inputs["root"]
    files.write_json(LABELLING, tmp_path / "labelling.json")
    run_script(
        monkeypatch,
        *("--names", "s2", "t1", "--scores", root / "s2" / "test.json", root / "s1" / "test.json"),
        *("--models", root / "s2" / "model", "--labellings", tmp_path / "labelling.json", "--output-dir", tmp_path),
    )
    html = (tmp_path / "report.html").read_text()
    parse(html)
    for text in ("org/&lt;b&gt;llama, prompt paper, mode word", "1,190", "2.50", "3.54.0", "3 empty transcripts were"):
        assert text in html
    assert "<b>llama" not in html
    assert "org/<b>llama" in (tmp_path / "scores.md").read_text()
    assert "(t1)" not in html.split("openai")[1].split("</tr>")[0]  # the only one that has the package


def test_without_analysis_and_tables_their_sections_are_absent(written):
    html = (written / "report.html").read_text()
    for key in OF_ANALYSIS:
        assert f'id="{key}"' not in html and f'href="#{key}"' not in html
    assert 'id="vote"' in html
