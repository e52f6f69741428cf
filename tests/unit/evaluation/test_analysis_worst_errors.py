import numpy as np
import pytest

from abhinaya.data.schemas import KEY, PROBABILITIES, VOTES
from abhinaya.evaluation.analysis.predictions import Evaluation
from abhinaya.evaluation.analysis.worst_errors import COLUMNS, worst_errors
from support.analysis_parts import guess, made, truths, with_vote


def certain(split, name: str, label: list[int], confidence: list[float], second: int = 5) -> None:
    """Set the probabilities of the labels of `name`; the class `second` gets the rest."""
    table = np.zeros((len(label), 8))
    table[:, second] = 1 - np.array(confidence)
    table[np.arange(len(label)), label] += confidence
    split.predictions[name][list(PROBABILITIES)] = table


def test_most_confident_errors_come_first():
    columns = {
        "path": ["a", "b", "c", "d"],
        "duration": [1.0, 2.0, 3.0, 4.0],
        "text": ["<b>one</b>", "two", None, "four"],
    }
    split = made(list("NNNA"), {"s1": list("ACNC")}, **columns)
    certain(split, "s1", [0, 1, 5, 1], [0.6, 0.9, 0.99, 0.7])
    table = worst_errors(Evaluation([split], {}))
    assert list(table.columns) == COLUMNS
    assert table[KEY].tolist() == ["validation_0001.wav", "validation_0003.wav", "validation_0000.wav"]
    assert table["truth"].tolist() == ["N", "A", "N"]
    assert table["predicted"].tolist() == ["C", "C", "A"]
    assert table["confidence"].tolist() == [0.9, 0.7, 0.6]
    assert table["p_truth"].tolist() == pytest.approx([0.1, 0, 0.4])
    assert table["text"].tolist() == ["two", "four", "<b>one</b>"]
    assert table["path"].tolist() == ["b", "d", "a"]
    assert table["duration"].tolist() == [2, 4, 1]
    assert table["votes"].tolist() == ["", "", ""]


def test_missing_transcript_gives_empty_text():
    split = made(list("AC"), {"s1": list("CA")})
    assert worst_errors(Evaluation([split], {}))["text"].tolist() == ["", ""]


def test_only_ensembles_are_listed_with_their_votes():
    split = made(list("AN"), {"s1": list("HN"), "s2": list("NN"), "t1": list("HA")})
    table = worst_errors(with_vote([split], ["s1", "s2", "t1"], "s2"))
    assert table[["system", "truth", "predicted", "votes"]].values.tolist() == [["vote", "A", "H", "s1:H s2:N t1:H"]]


def test_ensemble_of_one_member_lists_its_vote():
    split = made(list("A"), {"s1": list("H")})
    assert worst_errors(with_vote([split], ["s1"], "s1"))["votes"].tolist() == ["s1:H"]


def test_confidence_of_a_vote_is_that_of_its_label():
    split = made(list("A"), {"s1": list("H"), "s2": list("H"), "t1": list("N")})
    certain(split, "s1", [4], [0.4])
    certain(split, "s2", [4], [0.4])
    certain(split, "t1", [5], [1.0])
    row = worst_errors(with_vote([split], ["s1", "s2", "t1"], "s2")).iloc[0]
    assert row["predicted"] == "H"
    assert row["confidence"] == pytest.approx(0.8 / 3)


def test_limit_applies_to_both_splits_together():
    splits = []
    for name in ("validation", "test"):
        truth = truths(60)
        splits.append(made(truth, {"s1": guess(truth, 0.1, 1), "s2": guess(truth, 0.1, 2)}, name))
    table = worst_errors(Evaluation(splits, {}))
    assert table["system"].tolist() == ["s1"] * 20 + ["s2"] * 20
    for system, rows in table.groupby("system"):
        wrong = np.concatenate(
            [
                split.probability(system, split.predicted[system])[split.predicted[system] != split.truth]
                for split in splits
            ]
        )
        assert rows["confidence"].tolist() == sorted(wrong, reverse=True)[:20]
        assert rows["confidence"].is_monotonic_decreasing
    assert len(worst_errors(Evaluation(splits, {}), limit=3)) == 6


def test_equal_confidence_is_ordered_by_name():
    split = made(list("NNN"), {"s1": list("ACD")})
    certain(split, "s1", [0, 1, 2], [0.8, 0.8, 0.8])
    assert worst_errors(Evaluation([split], {}))[KEY].is_monotonic_increasing


def test_annotator_votes_are_not_mixed_with_member_votes():
    split = made(list("A"), {"s1": list("H")}, **{vote: [3] for vote in VOTES})
    assert worst_errors(with_vote([split], ["s1"], "s1")).columns.tolist() == COLUMNS


@pytest.mark.parametrize("splits", [[], [made(list("AC"), {"s1": list("AC")})]])
def test_no_errors_give_an_empty_table(splits):
    table = worst_errors(Evaluation(splits, {}))
    assert table.empty
    assert list(table.columns) == COLUMNS
