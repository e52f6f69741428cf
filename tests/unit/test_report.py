import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import report as report_script
from abhinaya import report, scoring, tables, voting
from abhinaya.errors import UserError
from abhinaya.labels import CLASSES
from abhinaya.report import figures
from abhinaya.report.tables import Cell, Table, number
from abhinaya.tables import PROBABILITIES, read_json, write_json

EVIL = "<script>alert('a|b')</script> $x$"
VOID = {"meta", "br", "hr", "img", "link", "input"}
SPLITS = ("validation", "test")


class Checker(HTMLParser):
    """Balances the tags; collects ids, addresses and the text of scripts and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                self.addresses.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """Small files as a run leaves them: two systems, their vote, corpus, transcripts."""
    root = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(5)
    truth = np.tile(list(CLASSES), 10)
    names = [f"u{index:03d}.wav" for index in range(len(truth))]
    manifest = pd.DataFrame({"FileName": names, "EmoClass": truth, "split": np.repeat(SPLITS, 40)})
    for system, skill in (("s1", 0.3), ("s2", 0.6)):
        labels = np.where(rng.random(len(truth)) < skill, truth, rng.choice(list(CLASSES), len(truth)))
        certain = pd.DataFrame(labels[:, None] == np.array(CLASSES), columns=list(PROBABILITIES)).astype(float)
        guesses = certain.assign(FileName=names, Split=manifest["split"], EmoClass=labels)
        tables.write_predictions(guesses, root / system / "preds.csv")
        model = {
            "name": system,
            "settings": {"encoder": {"model": f"{system}-large"}, "loss": {"name": "vs", "gamma": 0.3, "tau": 1.0}},
            "versions": {"python": "3.11", "torch": f"2.{skill}"},
            "notes": [f"random weights {EVIL}"] if system == "s1" else [],
        }
        write_json(model, root / system / "model" / "config.json")
        epochs = [{"epoch": e, "loss": 2 / e, "validation_loss": 3 / e, "macro_f1": skill * e / 3} for e in (1, 2, 3)]
        write_json({"epochs": epochs, "best_epoch": 3}, root / system / "model" / "metrics.json")
    members = voting.read_members({name: root / name / "preds.csv" for name in ("s1", "s2")})
    tables.write_predictions(voting.vote(members, "s2"), root / "both" / "preds.csv")
    for system in ("s1", "s2", "both"):
        guesses = tables.read_predictions(root / system / "preds.csv")
        write_json(scoring.score(manifest, guesses, resamples=50), root / system / "scores.json")
    summary = {
        "utterances": 80,
        "rejected": 1042,
        "splits": {"train": {"classes": {"A": 1234, "X": 7}}, "test": {"gender": {EVIL: 3}}},
    }
    write_json(summary, root / "summary.json")
    heard = pd.DataFrame({"FileName": names, "text": "Hello, world!", "avg_logprob": -rng.random(len(names))})
    heard.loc[:2, "text"] = ""
    metadata = {"model": EVIL, "counts": {"redecoded": 4321}}
    tables.write_parquet(heard, tables.TRANSCRIPTS, root / "transcripts.parquet", metadata)
    known = pd.DataFrame({"FileName": names, "text": "hello world"})
    tables.write_parquet(known, report.REFERENCES, root / "references.parquet")
    return {"root": root, **{path.stem: path for path in root.glob("*.*")}}


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    report_script.main()


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory) -> Path:
    """The folder of a report on everything in `inputs`, made by the script."""
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


def test_the_page_parses_and_loads_nothing(written):
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


def test_colours_are_the_pages(written):
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


def test_the_same_inputs_give_the_same_page(inputs):
    scores = {name: inputs["root"] / name / "scores.json" for name in ("s1", "s2")}
    pages = {report.render(report.read("Twice", scores, [inputs["root"] / "s1" / "model"], [], [])) for _ in range(2)}
    assert len(pages) == 1


def test_scores_alone_make_a_page_with_dashes_for_what_is_missing(inputs):
    scores = read_json(inputs["root"] / "s1" / "scores.json")
    html = report.render(report.Inputs("Alone", {"s1": scores, "t1": {**scores, "test": None}}))
    parse(html)
    assert "<td>–</td>" in html
    for section in ("vote", "training", "corpus", "transcripts", "configuration"):
        assert f'id="{section}"' not in html


def test_no_labels_at_all_still_make_a_page():
    scores = {"s1": {"validation": None, "test": None, "unlabelled": {"test": 1000}}}
    html = report.render(report.Inputs("Unlabelled", scores))
    parse(html)
    assert "1,000 test utterances without a label" in html
    assert 'id="confusions"' not in html


@pytest.mark.parametrize(("rejected", "said"), [(0, False), (None, False), (1, True), (1042, True)])
def test_rejected_utterances_are_a_reason_to_read_with_care(inputs, rejected, said):
    scores = {"s1": read_json(inputs["root"] / "s1" / "scores.json")}
    html = report.render(report.Inputs("Rejected", scores, summary={"utterances": 80, "rejected": rejected}))
    parse(html)
    scores_section, corpus_section = html.split('<section id="classes">')[0], html.split('<section id="corpus">')[1]
    assert ("Read with care" in scores_section) == said
    assert (f"{number(rejected)} utterance{'' if rejected == 1 else 's'} rejected" in scores_section) == said
    for section in (scores_section, corpus_section):
        assert ("results/corpus/rejected.csv" in section) == said


BROKEN = [
    ({"validation": {}, "test": {"n": 1}}, "validation"),
    ({"validation": None, "test": {"n": 1}}, "test.macro_f1"),
    ({"validation": None, "test": "good"}, "test"),
    ({"validation": None}, "test"),
    ([], "valid dictionary"),
]


@pytest.mark.parametrize(("content", "where"), BROKEN)
def test_incomplete_scores_are_named(tmp_path, monkeypatch, content, where):
    write_json(content, tmp_path / "scores.json")
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, "--names", "a", "--scores", tmp_path / "scores.json", "--output-dir", tmp_path / "new")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'scores.json'}: ") and where in message and "score.py" in message
    assert "\n" not in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("table", ["per_class_f1", "per_class_recall", "per_class_precision", "support"])
def test_scores_that_lack_a_class_are_named(inputs, tmp_path, table):
    scores = read_json(inputs["root"] / "s1" / "scores.json")
    del scores["test"][table]["U"]
    write_json(scores, tmp_path / "scores.json")
    with pytest.raises(UserError, match=rf"scores.json: test\.{table}\.U"):
        report.read("", {"a": tmp_path / "scores.json"}, [], [], [])


@pytest.mark.parametrize("change", [{"confusion": [[1]]}, {"macro_f1_interval": [0.1]}, {"n": "many"}, {"uar": None}])
def test_scores_of_another_shape_are_named(inputs, tmp_path, change):
    scores = read_json(inputs["root"] / "s1" / "scores.json")
    scores["test"] |= change
    write_json(scores, tmp_path / "scores.json")
    with pytest.raises(UserError, match=rf"scores.json: test\.{next(iter(change))}"):
        report.read("", {"a": tmp_path / "scores.json"}, [], [], [])


@pytest.mark.parametrize("about", ["{s1: a}", '["s1"]', '{"s1": 3}', "null"])
def test_about_must_be_texts_by_name(inputs, tmp_path, monkeypatch, about):
    path = inputs["root"] / "s1" / "scores.json"
    with pytest.raises(UserError, match=r"^--about: .*\{\"s1\": ") as caught:
        run_script(monkeypatch, "--names", "s1", "--scores", path, "--about", about, "--output-dir", tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_about_says_what_a_system_is(inputs, tmp_path, monkeypatch):
    root = inputs["root"]
    arguments = ("--names", "s1", "--scores", root / "s1" / "scores.json", "--models", root / "s1" / "model")
    run_script(monkeypatch, *arguments, "--about", '{"s1": "first trial"}', "--output-dir", tmp_path)
    assert "first trial, VS" in (tmp_path / "scores.md").read_text()


def test_the_terminal_shows_the_scores(inputs, monkeypatch, tmp_path, capsys):
    path = inputs["root"] / "s2" / "scores.json"
    run_script(monkeypatch, "--names", "[bold]s2", "--scores", path, "--models", "--output-dir", tmp_path)
    printed = capsys.readouterr().out
    assert "[bold]s2" in printed
    assert f"{100 * read_json(path)['test']['macro_f1']:.2f}" in printed


def test_agreement_is_the_share_of_equal_labels():
    voted = pd.DataFrame({"EmoClass": list("AACH"), "vote_s1": list("AACH"), "vote_s2": list("ANNN")})
    assert report.agreement(voted) == {"s1": 1.0, "s2": 0.25}


def test_word_errors_ignore_case_punctuation_and_empty_references():
    known = pd.DataFrame({"FileName": list("abcd"), "text": ["Well, I know.", "one two", "...", "unheard"]})
    heard = pd.DataFrame({"FileName": list("abc"), "text": ["well i  know", "One 2 three", "noise"]})
    errors = report.word_errors(heard, known)
    assert (errors["utterances"], errors["words"]) == (2, 5)
    assert (errors["substitutions"], errors["deletions"], errors["insertions"]) == (1, 0, 1)
    assert errors["wer"] == pytest.approx(2 / 5)
    assert report.word_errors(heard.iloc[:0], known) == {}


def test_silence_heard_as_nothing_is_all_deletions():
    known = pd.DataFrame({"FileName": ["a"], "text": ["hello world"]})
    assert report.word_errors(known.assign(text=""), known)["deletions"] == 2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"name": "wce", "reduction": "mean"}, "a trial, WCE"),
        ({"name": "wfl", "gamma": 2.0}, "a trial, WFL γ 2"),
        ({"name": "vs", "gamma": 0.3, "tau": 1.0}, "a trial, VS γ 0.3 τ 1"),
    ],
)
def test_a_system_is_described_by_the_users_words_or_its_encoder_and_by_its_loss(loss, expected):
    config = {"settings": {"encoder": {"model": "wavlm"}, "loss": loss}}
    assert report.describe(config, "a trial") == expected
    assert report.describe(config).startswith("wavlm, ")
    assert report.describe({}) == ""


def test_markdown_keeps_a_bar_inside_its_cell():
    table = Table(["a", "b"], [[Cell("x|y"), Cell("1", "[0, 2]", best=True)]], [("", 1), ("test", 1)])
    assert table.markdown() == "| a | test b |\n| --- | ---: |\n| x\\|y | **1** [0, 2] |\n"


def test_numbers_are_grouped_and_missing_ones_are_dashes():
    assert [number(value) for value in (1234567, 1234.5, 0, None)] == ["1,234,567", "1,234.50", "0", "–"]


def test_a_confusion_matrix_shows_percent_of_the_row_and_counts():
    matrix = np.zeros((8, 8), int)
    matrix[0, :2] = 30, 10
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figures.confusion(matrix.tolist(), "c"))
    assert [text for text in texts if text.isdigit()] == ["75", "30", "25", "10"]


def test_epochs_without_a_measure_make_a_figure():
    svg = figures.training_curves([{"epoch": 1, "loss": 1.0, "macro_f1": None}], None, "t")
    assert svg.count("<svg") == 1 and "chosen" not in svg


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "a", "b", "--scores", "{root}/s1/scores.json"], "--names"),
        (["--names", "a", "--scores", "{root}/s1/model/config.json"], "config.json: .* these are no scores"),
        (["--names", "a", "--scores", "{root}/nothing.json"], "nothing.json: no such file"),
        (["--names", "a", "--scores", "{root}/s1/scores.json", "--votes", "{root}/s1/preds.csv"], "no ensemble's"),
        (
            [
                "--names",
                "a",
                "--scores",
                "{root}/s1/scores.json",
                "--models",
                "{root}/s1/model",
                "{root}/s2/../s1/model",
            ],
            "two are called 's1'",
        ),
    ],
)
def test_mistakes_are_told_in_a_line(inputs, tmp_path, monkeypatch, arguments, message):
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


def test_zero_shot_systems_stand_in_the_report(inputs, tmp_path, monkeypatch):
    root = inputs["root"]
    tables.write_json(LABELLING, tmp_path / "labelling.json")
    run_script(
        monkeypatch,
        *("--names", "s1", "t1", "--scores", root / "s1" / "scores.json", root / "s2" / "scores.json"),
        *("--models", root / "s1" / "model", "--labellings", tmp_path / "labelling.json", "--output-dir", tmp_path),
    )
    html = (tmp_path / "report.html").read_text()
    parse(html)
    for text in ("org/&lt;b&gt;llama, prompt paper, mode word", "1,190", "2.50", "3.54.0", "3 empty transcripts were"):
        assert text in html
    assert "<b>llama" not in html
    assert "org/<b>llama" in (tmp_path / "scores.md").read_text()
    assert "(t1)" not in html.split("openai")[1].split("</tr>")[0]  # the only one that has the package
