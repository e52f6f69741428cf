import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation.analysis.calibration import BIN_COLUMNS, COLUMNS, calibration, expected_error, reliability
from abhinaya.evaluation.analysis.predictions import Evaluation
from abhinaya.labels import CLASSES
from support.analysis_parts import guess, made, truths, with_vote

judged = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def test_ece_equals_torchmetrics():
    truth = truths(500)
    split = made(truth, {"s1": guess(truth, 0.5, 1), "s2": guess(truth, 0.8, 2)})
    sharp = split.predictions["s2"][list(PROBABILITIES)] ** 4
    split.predictions["s2"][list(PROBABILITIES)] = sharp.div(sharp.sum(axis=1), axis=0)
    table, _ = calibration(Evaluation([split], {}))
    for row in table.itertuples():
        probabilities = torch.tensor(split.predictions[row.system][list(PROBABILITIES)].to_numpy(float))
        expected = multiclass_calibration_error(probabilities, torch.tensor(split.truth), len(CLASSES), n_bins=15)
        chosen = split.predictions[row.system]["EmoClass"].map(CLASSES.index)
        assert (probabilities.argmax(dim=1).numpy() == chosen.to_numpy()).all()
        assert row.ece == pytest.approx(float(expected), abs=1e-6)  # computed in single precision
        assert row.accuracy == pytest.approx(np.mean(split.predicted[row.system] == split.truth))
        assert row.confidence == pytest.approx(probabilities.max(dim=1).values.mean().item())
        assert row.n == 500


def test_ece_in_closed_form():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 0.5])
    correct = np.array([True, True, True, False, True, False])
    bins = reliability(confidence, correct)
    assert bins["n"].tolist() == [2, 4]
    assert bins["accuracy"].tolist() == [0.5, 0.75]
    np.testing.assert_allclose(bins[["low", "high"]], [[7 / 15, 8 / 15], [14 / 15, 1]])
    assert expected_error(bins) == pytest.approx((2 * 0 + 4 * 0.2) / 6)


def test_calibration_of_certain_predictions():
    split = made(list("AC"), {"right": list("AC"), "wrong": list("CA")})
    for name, labels in (("right", [0, 1]), ("wrong", [1, 0])):
        split.predictions[name][list(PROBABILITIES)] = np.eye(8)[labels]
    table, bins = calibration(Evaluation([split], {}))
    assert table["ece"].tolist() == [0, 1]
    assert bins["high"].tolist() == [1, 1]
    assert bins["n"].tolist() == [2, 2]


def test_confidence_of_an_ensemble_is_that_of_its_label():
    split = made(list("AA"), {"s1": list("AC"), "s2": list("AC"), "t1": list("HH")})
    unsure, sure = np.full(8, 0.05), np.full(8, 0.01)
    unsure[0], sure[4] = 0.65, 0.93
    split.predictions["s1"][list(PROBABILITIES)] = split.predictions["s2"][list(PROBABILITIES)] = [
        unsure,
        unsure[[1, 0, *range(2, 8)]],
    ]
    split.predictions["t1"][list(PROBABILITIES)] = [sure, sure]
    found = with_vote([split], ["s1", "s2", "t1"], "t1")
    table, _ = calibration(found)
    assert split.predictions["vote"]["EmoClass"].tolist() == ["A", "C"]
    vote = table.set_index("system").loc["vote"]
    assert vote["confidence"] == pytest.approx((2 * 0.65 + 0.01) / 3)
    assert vote["accuracy"] == 0.5


@settings(max_examples=50)
@given(judged)
def test_each_utterance_is_in_one_bin(examples):
    confidence, correct = (np.array(values) for values in zip(*examples, strict=True))
    bins = reliability(confidence, correct)
    assert bins["n"].sum() == len(examples)
    assert (bins["n"] > 0).all()
    inside = bins["confidence"].between(bins["low"] - 1e-9, bins["high"] + 1e-9)
    assert inside.all()
    assert bins["low"].is_monotonic_increasing
    assert (bins["n"] * bins["accuracy"]).sum() == pytest.approx(correct.sum())
    assert (bins["n"] * bins["confidence"]).sum() == pytest.approx(confidence.sum())


def test_edges_belong_to_the_lower_bin():
    bins = reliability(np.array([0.0, 1 / 15, 1.0]), np.array([True, True, False]))
    assert bins["n"].tolist() == [2, 1]
    assert bins["low"].tolist() == pytest.approx([0, 14 / 15])


def test_each_system_and_split_has_its_row():
    splits = [made(list("ACH"), {"s1": list("ACC"), "s2": list("AAA")}, name) for name in ("validation", "test")]
    table, bins = calibration(Evaluation(splits, {}))
    assert list(table.columns) == COLUMNS
    assert list(bins.columns) == BIN_COLUMNS
    assert table[["system", "split"]].values.tolist() == [
        [name, split] for split in ("validation", "test") for name in ("s1", "s2")
    ]
    assert bins.groupby(["system", "split"])["n"].sum().eq(3).all()


def test_without_labels_both_tables_are_empty():
    table, bins = calibration(Evaluation([], {}))
    assert (list(table.columns), list(bins.columns)) == (COLUMNS, BIN_COLUMNS)
    assert pd.concat([table, bins]).empty
