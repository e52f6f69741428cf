"""Validation of the submission, and the files that the vote writes."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import check_submission
import vote
from abhinaya.config import parse
from abhinaya.config.ensemble import Ensemble
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation import submission
from abhinaya.labels import CLASSES
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

TEST = [f"test_{number}.wav" for number in range(8)]
GOOD = pd.DataFrame({KEY: TEST, "EmoClass": list(CLASSES)})
NAMES = TEST[0], TEST[1]


@pytest.fixture
def manifest() -> pd.DataFrame:
    names = [*TEST, "dev.wav", "train.wav", "unused.wav"]
    splits = ["test"] * len(TEST) + ["validation", "train", None]
    return pd.DataFrame({KEY: names, "split": splits, "path": names, "duration": 1.0}).sample(frac=1, random_state=0)


@pytest.fixture
def corpus(tmp_path: Path, manifest: pd.DataFrame) -> Path:
    """manifest.parquet and rejected.csv in a folder."""
    schemas.write_manifest(manifest, tmp_path / "manifest.parquet")
    rejected = pd.DataFrame({KEY: ["lost.wav", "gone.wav"], "role": ["test", "train"]})
    files.write_csv(rejected.assign(path="x", reason="empty file"), tmp_path / "rejected.csv")
    return tmp_path


def run(script, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def check(corpus: Path, table: pd.DataFrame | str, monkeypatch: pytest.MonkeyPatch, *options: object) -> int:
    path = corpus / "submission.csv"
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
    try:
        run(check_submission, monkeypatch, "--submission", path, "--manifest", corpus / "manifest.parquet", *options)
    except SystemExit as end:
        return end.code
    return 0


def test_valid_submission_has_no_problem_in_any_order(manifest):
    assert submission.problems(GOOD, manifest) == []
    assert submission.problems(GOOD[::-1], manifest) == []


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (GOOD.iloc[1:], ["missing test files: 1 (test_0.wav)"]),
        (GOOD.iloc[:3], ["missing test files: 5 (test_3.wav, test_4.wav, test_5.wav, …)"]),
        (pd.concat([GOOD, GOOD.iloc[[2, 2]]]), ["duplicate files: 1 (test_2.wav)"]),
        (
            pd.concat([GOOD, pd.DataFrame({KEY: ["dev.wav", "x\x1b.wav"], "EmoClass": "N"})]),
            ["files that are not test files of the manifest: 2 (dev.wav, x\\x1b.wav)"],
        ),
        (
            GOOD.assign(EmoClass=["A", "happy", "", "O", "X", "h", "S", "U"]),
            ["labels other than A, C, D, F, H, N, S, U: 5 (test_1.wav: happy, test_2.wav: (empty), "
             "test_3.wav: O, …)"],
        ),
        (GOOD.rename(columns={"EmoClass": "label"}), ["invalid header FileName,label; it must be FileName,EmoClass"]),
        (GOOD.assign(p=1), ["invalid header FileName,EmoClass,p; it must be FileName,EmoClass"]),
        (GOOD[["EmoClass", KEY]], ["invalid header EmoClass,FileName; it must be FileName,EmoClass"]),
    ],
)  # fmt: skip
def test_each_kind_of_problem_is_reported_in_one_line(table, expected, manifest):
    manifest = manifest.sort_values(KEY)
    assert submission.problems(table, manifest) == expected


def test_several_problems_are_reported_together(manifest):
    table = pd.concat([GOOD.iloc[2:], GOOD.iloc[[3]], pd.DataFrame({KEY: ["train.wav"], "EmoClass": ["Q"]})])
    found = submission.problems(table, manifest)
    assert [line.split(" (")[0] for line in found] == [
        "missing test files: 2",
        "files that are not test files of the manifest: 1",
        "duplicate files: 1",
        "labels other than A, C, D, F, H, N, S, U: 1",
    ]


def test_submission_of_a_corpus_without_a_test_split_is_empty(manifest):
    assert submission.problems(GOOD.iloc[:0], manifest[manifest["split"] != "test"]) == []


def test_script_accepts_a_valid_submission(corpus, monkeypatch, capsys):
    assert check(corpus, GOOD, monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("submission.csv: valid, 8 test files\n")
    assert printed.err == ""


def test_script_reports_problems_and_fails(corpus, monkeypatch, capsys):
    assert check(corpus, GOOD.iloc[1:].replace({"N": "Neutral", "S": ""}), monkeypatch) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"error: {corpus}/submission.csv: ") for line in lines] == [
        "missing test files: 1 (test_0.wav)",
        "labels other than A, C, D, F, H, N, S, U: 2 (test_5.wav: Neutral, test_6.wav: (empty))",
    ]


def test_quoted_names_and_windows_line_ends_are_read_unchanged(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'FileName,EmoClass\r\n"a,\nb.wav",A\r\n NA ,\r\n')
    assert submission.read(tmp_path / "a.csv").to_numpy().tolist() == [["a,\nb.wav", "A"], [" NA ", ""]]


def test_header_with_control_characters_is_reported_in_one_line(manifest):
    (problem,) = submission.problems(GOOD.rename(columns={KEY: "File\nName\x1b"}), manifest)
    assert problem.startswith("invalid header File\\nName\\x1b,EmoClass; ")


def test_rejected_test_files_are_a_warning_unless_labelled(corpus, monkeypatch, capsys):
    rejected = ("--rejected", corpus / "rejected.csv")
    assert check(corpus, GOOD, monkeypatch, *rejected) == 0
    assert (
        f"warning: {corpus}/submission.csv: missing test files, rejected because of their audio: 1 (lost.wav);"
        in capsys.readouterr().err
    )
    by_hand = pd.concat([GOOD, pd.DataFrame({KEY: ["lost.wav"], "EmoClass": "N"})])
    assert check(corpus, by_hand, monkeypatch, *rejected) == 0
    assert capsys.readouterr().err == ""
    assert check(corpus, by_hand, monkeypatch) == 1
    assert "files that are not test files of the manifest: 1 (lost.wav)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("submission.csv", "", "not a readable CSV"),
        ("submission.csv", 'FileName,EmoClass\n"a,A\n', "not a readable CSV"),
        ("submission.csv", "\ufeffFileName,EmoClass\na,A\n", ".*byte order mark"),
        ("submission.csv", "FileName,EmoClass\na,A,\nb,H,\n", "line 2 has 3 fields, the header 2"),
        ("submission.csv", "FileName,EmoClass\na,A\nb,H,0.9\n", "line 3 has 3 fields, the header 2"),
        ("submission.csv", "FileName,EmoClass\na\nb,H\n", "line 2 has 1 fields, the header 2"),
        ("submission.csv", "FileName,EmoClass\na,A\n\nb,H\n", "line 3 has 0 fields, the header 2"),
        ("submission.csv", "FileName,EmoClass\na,A\0,x\n", "line 2 has 3 fields"),
        ("rejected.csv", "FileName,path,reason\n", ".*FileName or role"),
        ("rejected.csv", "FileName,role,FileName\n", ".*FileName or role"),
    ],
)
def test_invalid_files_are_reported(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    read = submission.read if name == "submission.csv" else submission.read_rejected
    with pytest.raises(UserError, match=f"{name}: {words}") as caught, warnings.catch_warnings(action="error"):
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"missing.csv: .*not found"):
        read(tmp_path / "missing.csv")


# --- files written by the vote


def voting(corpus: Path, names: list[str]) -> list[object]:
    """Arguments of vote.py for two members that agree."""
    table = pd.DataFrame(np.full((len(names), 8), 0.125), columns=list(PROBABILITIES))
    table = table.assign(FileName=names, Split="test", EmoClass="H")
    for member in ("s1", "t2"):
        schemas.write_predictions(table, corpus / member / "preds.csv")
    return [
        *("--preds", corpus / "s1/preds.csv", corpus / "t2/preds.csv", "--members", "s1", "t2", "--tie-break", "t2"),
        *("--output", corpus / "vote/preds.csv", "--submission", corpus / "vote/submission.csv"),
    ]


def test_vote_writes_its_description(corpus, monkeypatch):
    description = corpus / "vote/ensemble.json"
    run(vote, monkeypatch, *voting(corpus, TEST), "--description", description)
    assert files.read_json(description) == {"members": ["s1", "t2"], "tie_break": "t2", "tie_rule": "label"}
    assert parse(Ensemble, files.read_json(description)).tie_break == "t2"


def test_vote_validates_its_submission(corpus, monkeypatch, capsys):
    checked = ("--manifest", corpus / "manifest.parquet", "--rejected", corpus / "rejected.csv")
    run(vote, monkeypatch, *voting(corpus, TEST), *checked)
    assert (
        "warning: submission: missing test files, rejected because of their audio: 1 (lost.wav)"
        in capsys.readouterr().err
    )
    assert check(corpus, (corpus / "vote/submission.csv").read_text(), monkeypatch, *checked[2:]) == 0


def test_invalid_vote_writes_nothing(corpus, monkeypatch):
    with pytest.raises(UserError, match=r"^submission: missing test files: 1 \(test_7\.wav\)"):
        run(vote, monkeypatch, *voting(corpus, [*TEST[:7], "z.wav"]), "--manifest", corpus / "manifest.parquet")
    assert not (corpus / "vote").exists()
