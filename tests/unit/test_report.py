import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

import report as report_script
import tables_page as tables_page_script
from abhinaya import report, scoring, tables, voting
from abhinaya.errors import UserError
from abhinaya.labels import CLASSES
from abhinaya.report import figures, findings, summary, wording
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
        scores = scoring.score(manifest, guesses, resamples=50)
        write_json(scores, root / system / "scores.json")
        write_json(scores | {"validation": None}, root / system / "test.json")  # half of the figures to draw
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


def test_scores_alone_make_a_page_with_dashes_for_what_is_missing(inputs):
    scores = read_json(inputs["root"] / "s1" / "test.json")
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
def test_rejected_utterances_are_a_reason_to_read_with_care(rejected, said):
    scores = {"s1": {"validation": None, "test": None}}
    html = report.render(report.Inputs("Rejected", scores, summary={"utterances": 80, "rejected": rejected}))
    parse(html)
    for key in ("scores", "corpus"):
        assert ("results/corpus/rejected.csv" in section(html, key)) == said
    assert ("Read with care" in section(html, "scores")) == ("Read with care" in section(html, "summary")) == said
    assert (f"{number(rejected)} utterance{'' if rejected == 1 else 's'} rejected" in section(html, "scores")) == said


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
    arguments = ("--names", "s1", "--scores", root / "s1" / "test.json", "--models", root / "s1" / "model")
    run_script(monkeypatch, *arguments, "--about", '{"s1": "first trial"}', "--output-dir", tmp_path)
    assert "first trial, VS" in (tmp_path / "scores.md").read_text()


def test_the_terminal_shows_the_scores(inputs, monkeypatch, tmp_path, capsys):
    path = inputs["root"] / "s2" / "test.json"
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
        *("--names", "s1", "t1", "--scores", root / "s1" / "test.json", root / "s2" / "test.json"),
        *("--models", root / "s1" / "model", "--labellings", tmp_path / "labelling.json", "--output-dir", tmp_path),
    )
    html = (tmp_path / "report.html").read_text()
    parse(html)
    for text in ("org/&lt;b&gt;llama, prompt paper, mode word", "1,190", "2.50", "3.54.0", "3 empty transcripts were"):
        assert text in html
    assert "<b>llama" not in html
    assert "org/<b>llama" in (tmp_path / "scores.md").read_text()
    assert "(t1)" not in html.split("openai")[1].split("</tr>")[0]  # the only one that has the package


# The analysis, the paper's tables and what stands before them.

NO_REJECTED = pd.DataFrame(columns=["FileName", "path", "reason"])


@pytest.fixture(scope="module")
def analysed(inputs, tmp_path_factory) -> Path:
    """The inputs' folder with an analysis, a table of the paper, a list of rejected audio and a manifest."""
    folder = tmp_path_factory.mktemp("analysed")
    audio = folder / "au dio" / "a#1 ?%<b>ü.wav"
    audio.parent.mkdir()
    audio.write_bytes(b"RIFF")
    pairs = [("s1", "s2", -0.2, 0.01), ("s1", "both", -0.2, 0.01), ("s2", "both", 0.01, 0.9)]
    others = [(-0.4, -0.01, 0.02, 0.04), (-0.5, 0.1, 0.07, 0.14), (-0.3, 0.3, 0.9, 0.9)]
    splits, systems, members = ("validation", "test"), ("s1", "s2", "both"), ("s1", "s2")
    frames = {
        "comparisons": [
            [split, a, b, 40, gap, gap - 0.1, gap + 0.1, p / 3, p, *of_speakers, 3, 9, 0.1, 0.3]
            for split in splits
            for (a, b, gap, p), of_speakers in zip(pairs, others, strict=True)
        ],
        "speakers": [["test", system, 40, 1 if system == "s1" else 12, 0.5, 0.31, 0.72] for system in systems],
        "calibration": [[system, split, 40, 0.1, 0.9, 0.6] for split in splits for system in systems],
        "reliability": [
            [system, split, low, low + 0.1, 20, low + 0.05, low]
            for split in splits
            for system in systems
            for low in (0.4, 0.8)
        ],
        "agreement": [[split, "s1", "s2", 0.42, 0.6] for split in splits],
        "members": [
            ["both", member, split, 40, 0.4, 0.8, 0.1, 0.5, -0.02, -0.05, 0.03]
            for member in members
            for split in splits
        ],
        "oracle": [["both", split, 40, 0.6, 0.75, 0.31, 0.22] for split in splits],
        "subgroups": [
            [system, split, "gender", group, 20, 0.5, 0.4, 0.6, 0.5, 0.5]
            for system in systems
            for split in splits
            for group in (EVIL, "Male")
        ],
        "mistakes": [
            ["both", "test", EVIL, "H", "N", "s1:H s2:N", EVIL, str(audio), 0.97, 0.01, 2.5],
            ["both", "test", "u041.wav", "H", "N", "s1:H s2:N", "", str(folder / "gone.wav"), 0.9, 0.05, np.nan],
        ],
    }
    for name, rows in frames.items():
        columns = [column for part in report.inputs.ANALYSIS[name] for column in part.split()]
        tables.write_csv(pd.DataFrame(rows, columns=columns), folder / "analysis" / f"{name}.csv")
    paper = Table(["system", "ours", "paper"], [[Cell("s1"), Cell("12.34", "[1, 2]", best=True), Cell("33.00")]])
    described = {"name": "table1", "title": f"Table 1 {EVIL}", "caption": "All systems.", "notes": [EVIL]}
    write_json(described | {"table": paper.to_dict(), "figure": None}, folder / "table1.json")
    bad = pd.DataFrame({"FileName": [f"bad{i}<b>.wav" for i in range(12)], "path": "x", "reason": "too short"})
    tables.write_csv(bad, folder / "rejected.csv")
    manifest = pd.DataFrame({"FileName": ["u041.wav", "u042.wav"], "path": "x", "duration": 1.0, "votes_H": [3, 5]})
    tables.write_manifest(manifest.assign(votes_N=[4, None]), folder / "manifest.parquet")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_script(monkeypatch, *of_analysis(inputs, folder), "--output-dir", folder / "report")
    return folder


def of_analysis(inputs, folder: Path) -> list:
    """The arguments of a report with everything in `folder`."""
    root, systems = inputs["root"], ("s1", "s2", "both")
    return [
        *("--names", *systems, "--scores", *[root / name / "test.json" for name in systems]),
        *(
            "--votes",
            root / "both" / "preds.csv",
            "--analysis",
            folder / "analysis",
            "--tables",
            folder / "table1.json",
        ),
        *("--rejected", folder / "rejected.csv", "--manifest", folder / "manifest.parquet"),
    ]


def read_analysed(inputs, analysed) -> report.Inputs:
    root = inputs["root"]
    scores = {name: root / name / "test.json" for name in ("s1", "s2", "both")}
    return report.read("t", scores, [], [], [root / "both" / "preds.csv"], analysis=analysed / "analysis")


def section(html: str, key: str) -> str:
    return re.search(rf'<section id="{key}".*?\n</section>\n', html, re.DOTALL)[0]


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).replace("\u00a0", " ").split())


NEW = ("paper", "significance", "calibration", "subgroups", "mistakes", "rejected")


def test_the_analysis_has_its_sections(analysed):
    html = (analysed / "report" / "report.html").read_text()
    page = parse(html)
    for key in ("summary", "vote", *NEW):
        assert key in page.ids and f'href="#{key}"' in html
    assert len(page.ids) == len(set(page.ids))
    significance = text_of(section(html, "significance"))
    assert "Of 3 pairs, 2 differ by more than chance explains, after Holm" in significance
    assert "correction; with whole speakers drawn, 1." in significance
    assert "speakers drawn" in significance and "31.0 to 72.0" in significance and "1 speaker known" in significance
    assert "clips of one speaker are drawn as if they were independent" in text_of(section(html, "scores"))
    assert "emotions that are true of an utterance of the group" in text_of(section(html, "subgroups"))
    vote = text_of(section(html, "vote"))
    assert "would reach 75.0 %, 15.0 points above the vote. All members agree on 31.0 %" in vote
    assert "−2.0 −5.0 to +3.0" in vote and "0.42" in vote
    assert "On test, all 3 are more confident than right." in text_of(section(html, "calibration"))


def test_the_map_of_differences_colours_the_significant_by_who_is_better(inputs, analysed):
    svg = findings.significance(read_analysed(inputs, analysed))[0]["map"]  # rows and columns: s1, s2, both
    colours = re.findall(r"fill: (?:none|var\(--(\w+)\); fill-opacity: [\d.]+); stroke: var\(--rule\)", svg)
    assert colours == ["", "orange", "orange", "blue", "", "", "blue", "", ""]
    texts = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if "." in text]
    assert texts == ["−20.0", "−20.0", "+20.0", "+1.0", "+20.0", "−1.0"]


def test_without_analysis_and_tables_their_sections_are_absent(written):
    html = (written / "report.html").read_text()
    for key in NEW:
        assert f'id="{key}"' not in html and f'href="#{key}"' not in html
    assert 'id="vote"' in html


def test_an_analysis_of_nothing_makes_a_page(inputs, analysed):
    nothing = {name: rows.iloc[:0] for name, rows in read_analysed(inputs, analysed).analysis.items()}
    html = report.render(report.Inputs("", {"s1": read_json(inputs["root"] / "s1" / "test.json")}, analysis=nothing))
    parse(html)
    for key in ("vote", *NEW):
        assert f'id="{key}"' not in html


def test_the_page_of_an_analysis_loads_nothing_from_elsewhere(analysed):
    for html in ((analysed / "report" / "report.html").read_text(), tables_page(analysed)):
        page = parse(html)
        assert "default-src 'none'" in html and page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
        assert not re.search(r"url\((?!#)|@import", html)
        for address in page.addresses:
            assert address.startswith(("#", "../au%20dio/")), address
        outside = re.findall(r"\bhttps?://[^\"'\s<]*", html)
        assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_players_address_is_quoted_and_only_where_there_is_a_file(analysed):
    html = (analysed / "report" / "report.html").read_text()
    players = re.findall(r"<audio[^>]*>", html)
    assert len(players) == 1 and 'preload="none"' in players[0]
    address = re.search(r'src="([^"]*)"', players[0])[1]
    assert address == "../au%20dio/a%231%20%3F%25%3Cb%3E%C3%BC.wav"
    assert (analysed / "report" / unquote(address)).is_file()
    assert "gone.wav" not in html


def test_without_audio_the_page_says_so(inputs, analysed):
    told = {"mistakes": read_analysed(inputs, analysed).analysis["mistakes"]}
    html = report.render(report.Inputs("", {"both": {"validation": None, "test": None}}, analysis=told))
    assert "u041.wav" in section(html, "mistakes")
    assert "<audio" not in html and "there is nothing to play" in html


def test_mistakes_tell_votes_annotators_and_silence(analysed):
    mistakes = section((analysed / "report" / "report.html").read_text(), "mistakes")
    first, second = mistakes.split("<tr")[2:]
    assert "s1 <strong>H</strong>" in first and "s2 N" in first and "97.0" in first and "2.5 s" in first
    assert "annotators N 4, H 3" in second and "no words" in second and " s</small>" not in second
    assert "<script" not in mistakes and mistakes.count("&lt;script&gt;") == 3  # name, label of the player, text


def test_what_was_left_out_is_listed_and_counted(analysed):
    html = section((analysed / "report" / "report.html").read_text(), "rejected")
    assert "12 utterances rejected" in html and str(analysed / "rejected.csv") in html and "first 10" in html
    assert html.count("too short") == 10 and "bad9&lt;b&gt;" in html and "bad10" not in html
    scores = {"s1": {"validation": None, "test": None}}
    one = pd.DataFrame({"FileName": ["a"], "path": ["p"], "reason": ["r"]})
    assert "1 utterance rejected, " in report.render(report.Inputs("", scores, rejected=one))
    assert "No utterance was rejected" in report.render(report.Inputs("", scores, rejected=NO_REJECTED))


def tables_page(analysed: Path) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["p", "--tables", f"{analysed}/table1.json", "--output-dir", f"{analysed}/t"])
        tables_page_script.main()
    return (analysed / "t" / "tables.html").read_text()


def test_the_papers_tables_stand_in_the_report_and_on_their_page(analysed):
    for html in ((analysed / "report" / "report.html").read_text(), tables_page(analysed)):
        page = parse(html)
        assert "paper-table1" in page.ids and "<strong>12.34</strong><small>[1, 2]</small>" in html
        assert "<script" not in html and "Table 1 &lt;script&gt;" in html


# The summary.


def scored(value: float, low: float = 0.1, high: float = 0.9, n: int = 40) -> dict:
    return {"test": {"n": n, "macro_f1": value, "macro_f1_interval": [low, high]}, "validation": None}


def told(inputs: report.Inputs) -> str:
    return " ".join(summary.results(inputs)).replace("\u00a0", " ")


def compared(
    a: str, b: str, gap: float, low: float, high: float, p: float, holm: float, speakers: float = np.nan, pairs: int = 1
) -> dict:
    columns = [column for part in report.inputs.ANALYSIS["comparisons"] for column in part.split()]
    row = ["test", a, b, 40, gap, low, high, p, holm, low, high, speakers, speakers, 1, 1, p, holm]
    return {
        "comparisons": pd.DataFrame(
            [row, *[["test", "x", str(i), *row[3:]] for i in range(pairs - 1)]], columns=columns
        )
    }


VOTED = {"vote": pd.DataFrame({"vote_a": ["H"], "vote_b": ["N"], "EmoClass": ["H"]})}
TWO = {"a": scored(0.5), "b": scored(0.4)}
GAIN = "The vote of a and b reaches 55.0 %, 5.0 points above its best member, a"


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({}, f"{GAIN}; whether that is more than chance was not tested."),
        (
            compared("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.002, pairs=3),
            f"{GAIN} (95 % interval of the difference +1.0 to +9.0). "
            "That is more than chance explains (p = 0.002 after Holm's correction for 3 comparisons).",
        ),
        (
            compared("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.001, speakers=0.03),
            "That is more than chance explains (p = 0.001), also with whole speakers drawn (p = 0.030).",
        ),
        (
            compared("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.001, speakers=0.05),
            "That is more than chance explains (p = 0.001), but not with whole speakers drawn (p = 0.050).",
        ),
        (
            compared("vote", "a", 0.05, -0.01, 0.09, 0.2, 0.2, speakers=0.01),
            "That is no more than chance explains (p = 0.20).",
        ),
        (compared("vote", "a", 0.05, 0.01, 0.09, 0.0002, 0.0002), "That is more than chance explains (p < 0.001)."),
        (
            compared("a", "vote", -0.05, -0.09, 0.02, 0.31, 0.31),
            "(95 % interval of the difference −2.0 to +9.0). That is no more than chance explains (p = 0.31).",
        ),
        (  # 0 may lie just outside of the interval
            compared("vote", "a", 0.05, 0.0005, 0.09, 0.0519, 0.0519),
            "(95 % interval of the difference +0.1 to +9.0). That is no more than chance explains (p = 0.052).",
        ),
        (
            compared("vote", "a", 0.05, 0.0, 0.09, 0.05, 0.05),
            "That is no more than chance explains (p = 0.050).",
        ),
        (
            compared("a", "vote", -0.05, -0.09, 0.02, 0.31, 0.93, pairs=3),
            "(95 % interval of the difference −2.0 to +9.0). "
            "That is within chance (p = 0.93 after Holm's correction for 3 comparisons).",
        ),
        (
            compared("vote", "a", 0.05, 0.0005, 0.09, 0.0519, 0.156, pairs=3),
            "That is within chance (p = 0.16 after Holm's correction for 3 comparisons).",
        ),
        (
            compared("vote", "a", 0.05, 0.01, 0.09, 0.008, 0.08, pairs=21),
            "That is not beyond what chance brings forth in so many comparisons "
            "(p = 0.080 after Holm's correction for 21 comparisons).",
        ),
        (
            compared("vote", "a", 0.05, 0.01, 0.09, np.nan, np.nan),
            f"{GAIN} (95 % interval of the difference +1.0 to +9.0).",
        ),
    ],
)
def test_the_summary_tells_the_votes_gain_and_whether_it_is_chance(analysis, expected):
    found = told(report.Inputs("", TWO | {"vote": scored(0.55)}, votes=VOTED, analysis=analysis))
    assert found.startswith("On test (40 utterances), vote has the highest macro-F1 of 3 systems and ensembles: 55.0 %")
    assert found.endswith(expected)


@pytest.mark.parametrize(
    ("scores", "votes", "expected"),
    [
        (
            {"a": scored(0.5, 0.4, 0.6, n=1)},
            {},
            "On test (1 utterance), a reaches a macro-F1 of 50.0 % (95 % interval 40.0 to 60.0).",
        ),
        (TWO, {}, "of 2 systems: 50.0 % (95 % interval 10.0 to 90.0). That is 10.0 points above the next, b; whether"),
        ({"a": scored(0.5), "b": scored(0.49)}, {}, "That is 1.0 point above the next, b; whether"),
        ({"a": scored(0.5), "b": scored(0.5)}, {}, "That is as much as the next, b."),
        (TWO | {"vote": scored(0.45)}, VOTED, "reaches 45.0 %, 5.0 points below its best member, a;"),
        (TWO | {"vote": scored(0.5)}, VOTED, "reaches 50.0 %, as much as its best member, a."),
        ({"vote": scored(0.5)}, VOTED, "vote reaches a macro-F1 of 50.0 %"),
        ({"a": {"validation": None, "test": None}}, {}, "No utterance here has a label, so nothing is scored."),
    ],
)
def test_the_summary_fits_what_was_scored(scores, votes, expected):
    assert expected in told(report.Inputs("", scores, votes=votes))


def test_of_several_ensembles_the_summary_names_the_best():
    scores = TWO | {"vote": scored(0.55), "pair": scored(0.6)}
    votes = VOTED | {"pair": VOTED["vote"]}
    assert "The vote of a and b (pair) reaches 60.0 %" in told(report.Inputs("", scores, votes=votes))


def test_on_validation_the_summary_warns_of_its_checkpoints():
    scores = {"a": {"validation": scored(0.5)["test"], "test": None}}
    assert "On validation (40 utterances)" in told(report.Inputs("", scores))
    assert "chosen on validation" not in told(report.Inputs("", scores))
    assert "chosen on validation" in told(report.Inputs("", scores, metrics={"a": {"epochs": []}}))


@pytest.mark.parametrize(
    ("corpus", "notes", "expected"),
    [
        ({}, [], ""),
        ({"utterances": 1}, [], "The corpus holds 1 utterance."),
        (
            {"utterances": 1200, "hours": 2.25, "splits": {"train": {"utterances": 1190}, "test": {"utterances": 10}}},
            [],
            "The corpus holds 1,200 utterances (2.2 hours): 1,190 to train on and 10 for test.",
        ),
        ({"rejected": 1}, ["n"], "To keep in mind: 1 note on how systems were made and 1 utterance rejected."),
        ({"rejected": 2}, ["n", "n"], "To keep in mind: 2 notes on how systems were made and 2 utterances rejected."),
    ],
)
def test_the_summary_tells_of_the_corpus_and_what_to_keep_in_mind(corpus, notes, expected):
    found = summary.circumstances(report.Inputs("", TWO, configs={"a": {"notes": notes}}, summary=corpus))
    assert " ".join(found) == expected


def test_unlabelled_utterances_are_kept_in_mind():
    scores = {"a": {"validation": None, "test": None, "unlabelled": {"test": 3200}}}
    found = summary.circumstances(report.Inputs("", scores))
    assert found == ["To keep in mind: 3,200 test utterances without a label."]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("analysis/oracle.csv", None, "oracle.csv: no such file"),
        ("analysis/oracle.csv", "", "oracle.csv: not a readable CSV"),
        ("analysis/oracle.csv", "ensemble,split,n,vote,oracle\n", "oracle.csv: no column unanimous, all_wrong"),
        (
            "analysis/oracle.csv",
            "ensemble,split,n,vote,oracle,unanimous,all_wrong\nv,test,9,0.5,much,0,0\n",
            "oracle.csv: row 2: oracle 'much' is no number",
        ),
        ("table1.json", "{}", "table1.json: no table of the paper"),
        ("table1.json", "[]", "table1.json: no table of the paper"),
        ("table1.json", '{"title": "", "caption": "", "table": {"columns": []}}', "table1.json: no table of the paper"),
        ("rejected.csv", "FileName,path\n", "rejected.csv: no column reason"),
        ("manifest.parquet", "x", "manifest.parquet: not a readable Parquet file"),
    ],
)
def test_a_broken_file_of_the_analysis_is_told_in_a_line(
    analysed, inputs, tmp_path, monkeypatch, file, content, message
):
    folder = tmp_path / "copy"
    shutil.copytree(analysed, folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        run_script(
            monkeypatch,
            *("--names", "s1", "--scores", inputs["root"] / "s1" / "scores.json", "--analysis", folder / "analysis"),
            *("--tables", folder / "table1.json", "--rejected", folder / "rejected.csv"),
            *("--manifest", folder / "manifest.parquet", "--output-dir", tmp_path / "new"),
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_table_given_twice_is_told(analysed, tmp_path):
    path = analysed / "table1.json"
    with pytest.raises(UserError, match="--tables: two are called 'table1'"):
        report.write_tables_page([path, path], tmp_path / "new", "")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("p", "expected"), [(np.nan, "–"), (0.0004, "< 0.001"), (0.0321, "0.032"), (0.314, "0.31"), (1.0, "1.00")]
)
def test_p_values_are_not_more_precise_than_they_are(p, expected):
    assert wording.probability(p) == expected


def test_differences_have_their_sign():
    assert [wording.signed_points(value) for value in (0.051, -0.051, 0.0001, -0.0001)] == [
        "+5.1",
        "−5.1",
        "0.0",
        "0.0",
    ]


def test_a_heat_map_colours_only_what_it_is_told():
    values = np.array([[np.nan, 0.5], [-0.5, np.nan]])
    svg = figures.heat_map(values, ["a", "b"], [["", "+50"], ["−50", ""]], "differences")
    assert svg.count("var(--blue)") == 1 and svg.count('role="img" aria-label="differences"') == 1
    assert [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if "50" in text] == ["+50", "−50"]


def test_an_interval_without_its_value_in_it_is_drawn():
    svg = figures.dots(["a", "b"], {"test": [(0.5, 0.6, 0.7), None]}, "macro-F1 (%)", "t")
    assert "50.0" in svg


def test_the_same_inputs_give_the_same_files(inputs, analysed, monkeypatch):
    run_script(monkeypatch, *of_analysis(inputs, analysed), "--output-dir", analysed / "again")
    written = list((analysed / "report").iterdir())
    assert "report.html" in {path.name for path in written}
    for path in written:
        assert path.read_bytes() == (analysed / "again" / path.name).read_bytes()
