"""The report with an analysis and tables of the paper."""

import re
import shutil
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from abhinaya.data import schemas
from abhinaya.reporting import report
from abhinaya.reporting.report import findings
from abhinaya.reporting.report.paper_tables import read_paper_tables
from abhinaya.reporting.table import Cell, Table
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json, write_json
from support.report_parts import EVIL, OF_ANALYSIS, make_inputs, parse, run_script, section, text_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("results"))


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
        "significance": [
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
        "leave_one_out": [
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
        "worst_errors": [
            ["both", "test", EVIL, "H", "N", "s1:H s2:N", EVIL, str(audio), 0.97, 0.01, 2.5],
            ["both", "test", "u041.wav", "H", "N", "s1:H s2:N", "", str(folder / "gone.wav"), 0.9, 0.05, np.nan],
        ],
    }
    for name, rows in frames.items():
        columns = [column for part in report.inputs.ANALYSIS[name] for column in part.split()]
        files.write_csv(pd.DataFrame(rows, columns=columns), folder / "analysis" / f"{name}.csv")
    paper = Table(["system", "ours", "paper"], [[Cell("s1"), Cell("12.34", "[1, 2]", best=True), Cell("33.00")]])
    described = {"name": "table1", "title": f"Table 1 {EVIL}", "caption": "All systems.", "notes": [EVIL]}
    write_json(described | {"table": asdict(paper), "figure": None}, folder / "table1.json")
    bad = pd.DataFrame({"FileName": [f"bad{i}<b>.wav" for i in range(12)], "path": "x", "reason": "too short"})
    files.write_csv(bad, folder / "rejected.csv")
    manifest = pd.DataFrame({"FileName": ["u041.wav", "u042.wav"], "path": "x", "duration": 1.0, "votes_H": [3, 5]})
    schemas.write_manifest(manifest.assign(votes_N=[4, None]), folder / "manifest.parquet")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_script(monkeypatch, *of_analysis(inputs, folder), "--output-dir", folder / "report")
    return folder


def of_analysis(inputs, folder: Path) -> list:
    """The arguments of a report with all files in `folder`."""
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


def test_the_analysis_has_its_sections(analysed):
    html = (analysed / "report" / "report.html").read_text()
    page = parse(html)
    for key in ("summary", "vote", *OF_ANALYSIS):
        assert key in page.ids and f'href="#{key}"' in html
    assert len(page.ids) == len(set(page.ids))
    significance = text_of(section(html, "significance"))
    assert "2 of 3 pairs differ significantly after Holm" in significance
    assert "correction; with resampled speakers, 1." in significance
    assert "resampled speakers" in significance and "31.0 to 72.0" in significance and "1 speaker known" in significance
    assert "Utterances of one speaker are treated as independent" in text_of(section(html, "scores"))
    assert "the mean over the emotions in the truth of the group" in text_of(section(html, "subgroups"))
    vote = text_of(section(html, "vote"))
    assert "reaches 75.0 %, 15.0 points above the vote. All members agree on 31.0 %" in vote
    assert "−2.0 −5.0 to +3.0" in vote and "0.42" in vote
    assert "On test, 3 of 3 systems are overconfident." in text_of(section(html, "calibration"))


def compared(inputs, analysed, **columns: float) -> report.Inputs:
    """Only scores and comparisons; `columns` of the comparisons are replaced."""
    found = read_analysed(inputs, analysed)
    pairs = found.analysis["significance"].query("split == 'test'").assign(**columns)
    return report.Inputs("", found.scores, analysis={"significance": pairs, "speakers": found.analysis["speakers"]})


def test_few_speakers_are_not_resampled(inputs, analysed):
    found = compared(inputs, analysed, p_speakers=np.nan, p_speakers_holm=np.nan)
    found.analysis["speakers"] = found.analysis["speakers"].iloc[:0]
    html = report.render(found)
    assert "or between speakers: fewer than 10 speakers are known." in text_of(html)
    assert "resampled speakers" not in html and 'href="#significance"' not in section(html, "scores")
    assert "2 of 3 pairs differ significantly after Holm" in html


def test_a_single_system_has_an_interval_with_resampled_speakers(inputs, analysed):
    found = compared(inputs, analysed)
    found.analysis["significance"] = found.analysis["significance"].iloc[:0]
    html = report.render(found)
    parse(html)
    text = section(html, "significance")
    assert "31.0 to 72.0" in text and "All pairs" not in text and "coloured" not in text
    assert "Significance has intervals with resampled speakers." in text_of(section(html, "scores"))


@pytest.mark.parametrize(
    ("p", "p_speakers", "verdict"),
    [
        (0.01, np.nan, "significant."),
        (0.01, 0.02, "significant; with resampled speakers it is significant."),
        (0.01, 0.06, "significant; with resampled speakers it is not significant."),
        (0.2, 0.3, "not significant; with resampled speakers it is not significant."),
        (0.2, 0.01, "not significant; with resampled speakers it is significant."),
    ],
)
def test_difference_of_two_systems_is_a_sentence(inputs, analysed, p, p_speakers, verdict):
    found = compared(inputs, analysed, p_bootstrap_holm=p, p_speakers_holm=p_speakers)
    found.analysis["significance"] = found.analysis["significance"].iloc[:1]
    assert findings.significance(found)[0]["sentence"] == f"The difference is {verdict}"


def test_map_of_differences_colours_significant_pairs_by_sign(inputs, analysed):
    svg = findings.significance(read_analysed(inputs, analysed))[0]["map"]  # rows and columns: s1, s2, both
    colours = re.findall(r"fill: (?:none|var\(--(\w+)\); fill-opacity: [\d.]+); stroke: var\(--rule\)", svg)
    assert colours == ["", "orange", "orange", "blue", "", "", "blue", "", ""]
    texts = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if "." in text]
    assert texts == ["−20.0", "−20.0", "+20.0", "+1.0", "+20.0", "−1.0"]


def test_report_of_an_empty_analysis(inputs, analysed):
    nothing = {name: rows.iloc[:0] for name, rows in read_analysed(inputs, analysed).analysis.items()}
    html = report.render(report.Inputs("", {"s1": read_json(inputs["root"] / "s1" / "test.json")}, analysis=nothing))
    parse(html)
    for key in ("vote", *OF_ANALYSIS):
        assert f'id="{key}"' not in html


def test_page_with_an_analysis_has_no_external_content(analysed):
    html = (analysed / "report" / "report.html").read_text()
    page = parse(html)
    assert "default-src 'none'" in html and page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not re.search(r"url\((?!#)|@import", html)
    for address in page.addresses:
        assert address.startswith(("#", "../au%20dio/")), address
    outside = re.findall(r"\bhttps?://[^\"'\s<]*", html)
    assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_players_exist_only_for_existing_files_with_a_quoted_address(analysed):
    html = (analysed / "report" / "report.html").read_text()
    players = re.findall(r"<audio[^>]*>", html)
    assert len(players) == 1 and 'preload="none"' in players[0]
    address = re.search(r'src="([^"]*)"', players[0])[1]
    assert address == "../au%20dio/a%231%20%3F%25%3Cb%3E%C3%BC.wav"
    assert (analysed / "report" / unquote(address)).is_file()
    assert "gone.wav" not in html


def test_report_without_audio_files(inputs, analysed):
    errors = {"worst_errors": read_analysed(inputs, analysed).analysis["worst_errors"]}
    html = report.render(report.Inputs("", {"both": {"validation": None, "test": None}}, analysis=errors))
    assert "u041.wav" in section(html, "worst_errors")
    assert "<audio" not in html and "There are no players" in html


def test_worst_errors_show_votes_annotators_and_missing_words(analysed):
    errors = section((analysed / "report" / "report.html").read_text(), "worst_errors")
    first, second = errors.split("<tr")[2:]
    assert "s1 <strong>H</strong>" in first and "s2 N" in first and "97.0" in first and "2.5 s" in first
    assert "annotators N 4, H 3" in second and "no words" in second and " s</small>" not in second
    assert "<script" not in errors and errors.count("&lt;script&gt;") == 3  # name, label of the player, text


def test_rejected_utterances_are_listed_and_counted(analysed):
    html = section((analysed / "report" / "report.html").read_text(), "rejected")
    assert "12 utterances rejected" in html and str(analysed / "rejected.csv") in html and "first 10" in html
    assert html.count("too short") == 10 and "bad9&lt;b&gt;" in html and "bad10" not in html
    scores = {"s1": {"validation": None, "test": None}}
    one = pd.DataFrame({"FileName": ["a"], "path": ["p"], "reason": ["r"]})
    assert "1 utterance rejected, " in report.render(report.Inputs("", scores, rejected=one))
    assert "No utterance was rejected" in report.render(report.Inputs("", scores, rejected=NO_REJECTED))


def test_report_contains_the_paper_tables(analysed):
    html = (analysed / "report" / "report.html").read_text()
    page = parse(html)
    assert "paper-table1" in page.ids and "<strong>12.34</strong><small>[1, 2]</small>" in html
    assert "<script" not in html and "Table 1 &lt;script&gt;" in html


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("analysis/oracle.csv", None, "oracle.csv: .*not found"),
        ("analysis/oracle.csv", "", "oracle.csv: not a readable CSV"),
        ("analysis/oracle.csv", "ensemble,split,n,vote,oracle\n", "oracle.csv: .*unanimous, all_wrong"),
        (
            "analysis/oracle.csv",
            "ensemble,split,n,vote,oracle,unanimous,all_wrong\nv,test,9,0.5,much,0,0\n",
            "oracle.csv: row 2: oracle 'much' is not a number",
        ),
        ("table1.json", "{}", "table1.json: "),
        ("table1.json", "[]", "table1.json: not a JSON object"),
        ("table1.json", '{"title": "", "caption": "", "table": {"columns": []}}', "table1.json: "),
        ("rejected.csv", "FileName,path\n", "rejected.csv: .*reason"),
        ("manifest.parquet", "x", "manifest.parquet: not a readable Parquet file"),
    ],
)
def test_invalid_file_of_the_analysis_is_reported_in_one_line(
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


def test_duplicate_table_is_reported(analysed):
    path = analysed / "table1.json"
    with pytest.raises(UserError, match=r"--tables: .*'table1'"):
        read_paper_tables([path, path])


def test_the_same_inputs_give_the_same_files(inputs, analysed, monkeypatch):
    run_script(monkeypatch, *of_analysis(inputs, analysed), "--output-dir", analysed / "again")
    written = list((analysed / "report").iterdir())
    assert "report.html" in {path.name for path in written}
    for path in written:
        assert path.read_bytes() == (analysed / "again" / path.name).read_bytes()
