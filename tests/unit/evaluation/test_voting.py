import sys
from pathlib import Path
from statistics import multimode

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vote as vote_script
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY, PROBABILITIES, read_predictions, write_predictions
from abhinaya.evaluation import voting
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

letters = st.sampled_from(CLASSES)
ballots = st.integers(1, 6).flatmap(
    lambda members: st.lists(st.lists(letters, min_size=members, max_size=members), min_size=1, max_size=12)
)


def member(labels: list[str], seed: int = 0, split: str = "test") -> pd.DataFrame:
    """Predictions of `labels` for utterances 0000.wav, 0001.wav, …; each label is its likeliest."""
    weights = np.random.default_rng(seed).uniform(0.1, 1, (len(labels), len(CLASSES)))
    weights[np.arange(len(labels)), [CLASSES.index(label) for label in labels]] = 2
    table = pd.DataFrame(weights / weights.sum(axis=1, keepdims=True), columns=list(PROBABILITIES))
    names = [f"{index:04d}.wav" for index in range(len(labels))]
    return table.assign(FileName=names, Split=split, EmoClass=labels)


def panel(rows: list[list[str]]) -> dict[str, pd.DataFrame]:
    """One member for each column of `rows` (utterances of ballots), as `read_members` gives them."""
    return {f"m{i}": member(list(labels), seed=i).set_index(KEY) for i, labels in enumerate(zip(*rows, strict=True))}


@given(ballots)
def test_unique_mode_wins_and_the_tie_breaker_decides_ties(rows):
    voted = voting.vote(panel(rows), "m0")
    for row, label, tie in zip(rows, voted["EmoClass"], voted["tie"], strict=True):
        modes = multimode(row)
        assert tie == (len(modes) > 1)
        assert label == (row[0] if tie else modes[0])


@given(st.lists(letters, min_size=1, max_size=12), st.integers(1, 6))
def test_unanimous_vote(labels, members):
    voted = voting.vote(panel([[label] * members for label in labels]), "m0")
    assert voted["EmoClass"].tolist() == labels
    assert not voted["tie"].any()


@given(ballots, st.randoms(use_true_random=False), st.sampled_from(["label", "probabilities"]))
def test_order_of_the_members_does_not_matter(rows, random, rule):
    members = panel(rows)
    names = list(members)
    random.shuffle(names)
    one = voting.vote(members, "m0", rule)
    other = voting.vote({name: members[name] for name in names}, "m0", rule)
    pd.testing.assert_frame_equal(one, other[one.columns])


@given(ballots)
def test_tie_rule_probabilities_takes_the_most_probable_tied_label(rows):
    members = panel(rows)
    voted = voting.vote(members, "m0", "probabilities").set_index(KEY)
    assert voting.count_ties(voted)["outside"] == 0
    for row, (name, outcome) in zip(rows, voted.iterrows(), strict=True):
        likeliest = max(multimode(row), key=lambda letter: members["m0"].loc[name, f"p_{letter}"])
        assert outcome["EmoClass"] == likeliest


@given(ballots)
def test_ties_decided_outside_the_tied_labels_are_counted(rows):
    ties = [row for row in rows if len(multimode(row)) > 1]
    expected = {
        "utterances": len(rows),
        "ties": len(ties),
        "outside": sum(row[0] not in multimode(row) for row in ties),
    }
    assert voting.count_ties(voting.vote(panel(rows), "m0")) == expected


def test_two_two_one_takes_the_label_of_the_tie_breaker():
    members = panel([["S", "A", "A", "H", "H"]])
    assert voting.vote(members, "m0")["EmoClass"].tolist() == ["S"]
    assert voting.vote(members, "m0", "probabilities")["EmoClass"].isin(["A", "H"]).all()


@given(ballots)
def test_probabilities_are_the_members_mean(rows):
    members = panel(rows)
    voted = voting.vote(members, "m0")
    sums = sum(table[list(PROBABILITIES)].to_numpy() for table in members.values())
    np.testing.assert_allclose(voted[list(PROBABILITIES)], sums / len(members))
    np.testing.assert_allclose(voted[list(PROBABILITIES)].sum(axis=1), 1)


def test_tie_breaker_must_be_a_member():
    with pytest.raises(UserError, match=r"'m9'.*m0, m1"):
        voting.vote(panel([["A", "C"]]), "m9")


def write_members(folder: Path, members: dict[str, pd.DataFrame]) -> dict[str, Path]:
    files = {name: folder / name / "preds.csv" for name in members}
    for name, table in members.items():
        write_predictions(table, files[name])
    return files


def test_members_are_aligned(tmp_path):
    files = write_members(tmp_path, {"s1": member(list("ACD")), "s2": member(list("ACD"), seed=1)})
    lines = files["s2"].read_text().splitlines()
    files["s2"].write_text("\n".join([lines[0], *reversed(lines[1:])]))
    members = voting.read_members(files)
    assert members["s1"].index.equals(members["s2"].index)
    assert members["s2"]["EmoClass"].tolist() == list("ACD")


def test_missing_predictions_are_listed(tmp_path):
    table = member(list("ACDFHNSU"))
    files = write_members(tmp_path, {"s1": table.iloc[:3], "s2": table, "t1": table.iloc[1:]})
    with pytest.raises(UserError) as caught:
        voting.read_members(files)
    message = str(caught.value)
    assert f"{files['s1']}: " in message and "5 utterances (0003.wav, 0004.wav, 0005.wav, …)" in message
    assert f"{files['t1']}: " in message and "1 utterance (0000.wav)" in message
    assert "\n" not in message and str(files["s2"]) not in message


def test_members_that_disagree_on_a_split_are_reported(tmp_path):
    files = write_members(tmp_path, {"s1": member(["A"]), "s2": member(["A"], split="validation")})
    with pytest.raises(UserError, match=r"Split.*\(0000\.wav\)"):
        voting.read_members(files)


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["vote.py", *map(str, arguments)])
    vote_script.main()


@pytest.mark.parametrize(
    ("output", "submission", "message"),
    [
        ("s2.csv", "sub.csv", "s2.csv: "),
        ("out.csv", "s1.csv", "s1.csv: "),
        ("out.csv", "out.csv", "out.csv: "),
        ("out.csv", "s1.csv/sub.csv", "sub.csv: "),
    ],
)
def test_script_replaces_no_input_or_output(tmp_path, monkeypatch, output, submission, message):
    for name in ("s1", "s2"):
        schemas.write_predictions(member(["A"]).reset_index(), tmp_path / f"{name}.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run_script(
            monkeypatch,
            *("--preds", "s1.csv", "s2.csv", "--members", "s1", "s2", "--tie-break", "s1"),
            *("--output", output, "--submission", submission),
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rejected_needs_a_manifest(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_script(
            monkeypatch,
            *("--preds", "a.csv", "--members", "s1", "--tie-break", "s1", "--output", "o.csv", "--rejected", "r.csv"),
        )
    assert "argument --rejected: " in capsys.readouterr().err


def test_script_writes_votes_and_submission(tmp_path, monkeypatch, capsys):
    rows = ["AAC", "HSN", "UUU"]
    members = {name: member([row[i] for row in rows], seed=i) for i, name in enumerate(("s1", "s2", "t1"))}
    for table in members.values():
        table.loc[0, "Split"] = "validation"
    files = write_members(tmp_path, members)
    output, submission = tmp_path / "vote" / "preds.csv", tmp_path / "vote" / "submission.csv"
    run_script(
        monkeypatch,
        *("--preds", *files.values(), "--members", *files, "--tie-break", "s2"),
        *("--output", output, "--submission", submission),
    )
    voted = read_predictions(output)
    assert voted["EmoClass"].tolist() == ["A", "S", "U"]
    assert voted["tie"].tolist() == [False, True, False]
    assert voted["vote_t1"].tolist() == ["C", "N", "U"]
    assert list(voted.columns[-4:]) == ["vote_s1", "vote_s2", "vote_t1", "tie"]
    assert submission.read_text() == "FileName,EmoClass\n0001.wav,S\n0002.wav,U\n"
    printed = capsys.readouterr().out
    assert "utterances: 3\nties: 1, decided by s2\nties decided outside the tied labels: 0\n" in printed


def test_script_lists_every_missing_prediction(tmp_path, monkeypatch, capsys):
    table = member(list("ACDFHNSU"))
    files = write_members(tmp_path, {"s1": table.iloc[:3], "s2": table, "t1": table.iloc[1:]})
    output = tmp_path / "vote" / "preds.csv"
    with pytest.raises(UserError, match=r"s1 .* 5 utterances "):
        run_script(
            monkeypatch,
            *("--preds", *files.values(), "--members", *files, "--tie-break", "s2", "--output", output),
        )
    listed = capsys.readouterr().err.splitlines()
    assert listed == [*[f"missing: s1 000{index}.wav" for index in range(3, 8)], "missing: t1 0000.wav"]
    assert not output.exists()


@pytest.mark.parametrize("names", [["s1"], ["s1", "s1"], ["s1", "s2", "t1"]])
def test_script_needs_one_name_per_file(tmp_path, monkeypatch, names):
    files = write_members(tmp_path, {"s1": member(["A"]), "s2": member(["A"])})
    with pytest.raises(UserError, match="--members"):
        run_script(
            monkeypatch,
            *("--preds", *files.values(), "--members", *names, "--tie-break", "s1", "--output", tmp_path / "preds.csv"),
        )
