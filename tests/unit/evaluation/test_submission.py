"""The submission, checked as the leaderboard would, and what the vote writes for it and for new audio."""

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


def test_a_good_submission_has_no_problem_in_any_order(manifest):
    assert submission.problems(GOOD, manifest) == []
    assert submission.problems(GOOD[::-1], manifest) == []


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (GOOD.iloc[1:], ["missing test files: 1 (test_0.wav)"]),
        (GOOD.iloc[:3], ["missing test files: 5 (test_3.wav, test_4.wav, test_5.wav, …)"]),
        (pd.concat([GOOD, GOOD.iloc[[2, 2]]]), ["files that stand more than once: 1 (test_2.wav)"]),
        (
            pd.concat([GOOD, pd.DataFrame({KEY: ["dev.wav", "x\x1b.wav"], "EmoClass": "N"})]),
            ["no test files of the manifest: 2 (dev.wav, x\\x1b.wav)"],
        ),
        (
            GOOD.assign(EmoClass=["A", "happy", "", "O", "X", "h", "S", "U"]),
            ["labels that are none of A, C, D, F, H, N, S, U: 5 (test_1.wav: happy, test_2.wav: nothing, "
             "test_3.wav: O, …)"],
        ),
        (GOOD.rename(columns={"EmoClass": "label"}), ["the header is FileName,label; it must be FileName,EmoClass"]),
        (GOOD.assign(p=1), ["the header is FileName,EmoClass,p; it must be FileName,EmoClass"]),
        (GOOD[["EmoClass", KEY]], ["the header is EmoClass,FileName; it must be FileName,EmoClass"]),
    ],
)  # fmt: skip
def test_each_kind_of_problem_is_one_line(table, expected, manifest):
    manifest = manifest.sort_values(KEY)
    assert submission.problems(table, manifest) == expected


def test_several_problems_are_told_together(manifest):
    table = pd.concat([GOOD.iloc[2:], GOOD.iloc[[3]], pd.DataFrame({KEY: ["train.wav"], "EmoClass": ["Q"]})])
    found = submission.problems(table, manifest)
    assert [line.split(" (")[0] for line in found] == [
        "missing test files: 2",
        "no test files of the manifest: 1",
        "files that stand more than once: 1",
        "labels that are none of A, C, D, F, H, N, S, U: 1",
    ]


def test_a_corpus_without_a_test_split_has_nothing_to_submit(manifest):
    assert submission.problems(GOOD.iloc[:0], manifest[manifest["split"] != "test"]) == []


def test_the_script_passes_a_good_one(corpus, monkeypatch, capsys):
    assert check(corpus, GOOD, monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("submission.csv: 8 test files, each once, each with one of the eight letters\n")
    assert printed.err == ""


def test_the_script_tells_problems_and_fails(corpus, monkeypatch, capsys):
    assert check(corpus, GOOD.iloc[1:].replace({"N": "Neutral", "S": ""}), monkeypatch) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"error: {corpus}/submission.csv: ") for line in lines] == [
        "missing test files: 1 (test_0.wav)",
        "labels that are none of A, C, D, F, H, N, S, U: 2 (test_5.wav: Neutral, test_6.wav: nothing)",
    ]


def test_quoted_names_and_windows_lines_are_read_as_they_stand(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'FileName,EmoClass\r\n"a,\nb.wav",A\r\n NA ,\r\n')
    assert submission.read(tmp_path / "a.csv").to_numpy().tolist() == [["a,\nb.wav", "A"], [" NA ", ""]]


def test_a_header_that_does_not_print_is_told_in_one_line(manifest):
    (problem,) = submission.problems(GOOD.rename(columns={KEY: "File\nName\x1b"}), manifest)
    assert problem == "the header is File\\nName\\x1b,EmoClass; it must be FileName,EmoClass"


def test_rejected_test_files_are_a_warning_until_someone_labels_them(corpus, monkeypatch, capsys):
    rejected = ("--rejected", corpus / "rejected.csv")
    assert check(corpus, GOOD, monkeypatch, *rejected) == 0
    assert (
        f"warning: {corpus}/submission.csv: test files rejected as unusable, and so missing: 1 (lost.wav); the"
        in capsys.readouterr().err
    )
    by_hand = pd.concat([GOOD, pd.DataFrame({KEY: ["lost.wav"], "EmoClass": "N"})])
    assert check(corpus, by_hand, monkeypatch, *rejected) == 0
    assert capsys.readouterr().err == ""
    assert check(corpus, by_hand, monkeypatch) == 1
    assert "no test files of the manifest: 1 (lost.wav)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("submission.csv", "", "not a readable CSV"),
        ("submission.csv", 'FileName,EmoClass\n"a,A\n', "not a readable CSV"),
        ("submission.csv", "\ufeffFileName,EmoClass\na,A\n", "begins with a byte order mark; save it as UTF-8 without"),
        ("submission.csv", "FileName,EmoClass\na,A,\nb,H,\n", "line 2 has 3 fields, the header 2; mend it"),
        ("submission.csv", "FileName,EmoClass\na,A\nb,H,0.9\n", "line 3 has 3 fields, the header 2; mend it"),
        ("submission.csv", "FileName,EmoClass\na\nb,H\n", "line 2 has 1 fields, the header 2; mend it"),
        ("submission.csv", "FileName,EmoClass\na,A\n\nb,H\n", "line 3 has 0 fields, the header 2; mend it"),
        ("submission.csv", "FileName,EmoClass\na,A\0,x\n", "line 2 has 3 fields"),
        ("rejected.csv", "FileName,path,reason\n", "no column FileName or role, or two; prepare the corpus again"),
        ("rejected.csv", "FileName,role,FileName\n", "no column FileName or role, or two; prepare the corpus again"),
    ],
)
def test_files_that_are_none_are_told(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    read = submission.read if name == "submission.csv" else submission.read_rejected
    with pytest.raises(UserError, match=f"{name}: {words}") as caught, warnings.catch_warnings(action="error"):
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"absent.csv: no such file"):
        read(tmp_path / "absent.csv")


# --- what the vote writes


def voting(corpus: Path, names: list[str]) -> list[object]:
    """Options of vote.py for two members that agree."""
    table = pd.DataFrame(np.full((len(names), 8), 0.125), columns=list(PROBABILITIES))
    table = table.assign(FileName=names, Split="test", EmoClass="H")
    for member in ("s1", "t2"):
        schemas.write_predictions(table, corpus / member / "preds.csv")
    return [
        *("--preds", corpus / "s1/preds.csv", corpus / "t2/preds.csv", "--members", "s1", "t2", "--tie-break", "t2"),
        *("--output", corpus / "vote/preds.csv", "--submission", corpus / "vote/submission.csv"),
    ]


def test_the_vote_describes_itself_as_the_configuration_would(corpus, monkeypatch):
    description = corpus / "vote/ensemble.json"
    run(vote, monkeypatch, *voting(corpus, TEST), "--description", description)
    assert files.read_json(description) == {"members": ["s1", "t2"], "tie_break": "t2", "tie_rule": "label"}
    assert parse(Ensemble, files.read_json(description)).tie_break == "t2"


def test_the_vote_checks_its_submission(corpus, monkeypatch, capsys):
    checked = ("--manifest", corpus / "manifest.parquet", "--rejected", corpus / "rejected.csv")
    run(vote, monkeypatch, *voting(corpus, TEST), *checked)
    assert (
        "warning: submission: test files rejected as unusable, and so missing: 1 (lost.wav)" in capsys.readouterr().err
    )
    assert check(corpus, (corpus / "vote/submission.csv").read_text(), monkeypatch, *checked[2:]) == 0


def test_a_vote_on_other_files_writes_nothing(corpus, monkeypatch):
    with pytest.raises(UserError, match=r"^submission: missing test files: 1 \(test_7.wav\); no test files"):
        run(vote, monkeypatch, *voting(corpus, [*TEST[:7], "z.wav"]), "--manifest", corpus / "manifest.parquet")
    assert not (corpus / "vote").exists()
