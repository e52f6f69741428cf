import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from abhinaya.evaluation.analysis import agreement, leave_one_out, oracle
from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval
from abhinaya.evaluation.analysis.predictions import Ensemble, Evaluation, encode
from abhinaya.labels import CLASSES
from support.analysis_parts import guess, made, truths, with_vote

letters = st.sampled_from(CLASSES)
ballots = st.lists(st.tuples(letters, letters, letters, letters), min_size=1, max_size=25)  # the truth comes first
few = Bootstrap(30)
THREE = ["s1", "s2", "t1"]


def panel(rows, split: str = "validation"):
    truth, *labels = map(list, zip(*rows, strict=True))
    return made(truth, dict(zip(THREE, labels, strict=True)), split)


def five(n: int = 200, split: str = "validation", seed: int = 0):
    truth = truths(n, seed)
    rights = {"s1": 0.35, "s2": 0.55, "t1": 0.3, "t2": 0.5, "st1": 0.45}
    return made(
        truth, {name: guess(truth, right, seed + i + 1) for i, (name, right) in enumerate(rights.items())}, split
    )


def ballot(labels: list[str], decider: str) -> str:
    """The vote on one utterance, computed independently."""
    counts = Counter(labels)
    most = [label for label, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else decider


def test_kappa_equals_scikit_learn_and_agreement_the_share():
    split = five()
    found = with_vote([split], ["s1", "s2", "t1"], "s2")
    table = agreement.agreement(found)
    assert list(table.columns) == agreement.COLUMNS
    assert table[["a", "b"]].values.tolist() == [["s1", "s2"], ["s1", "t1"], ["s2", "t1"]]  # no t2, st1, vote
    for row in table.itertuples():
        a, b = (split.predictions[name]["EmoClass"] for name in (row.a, row.b))
        assert row.kappa == pytest.approx(cohen_kappa_score(a, b))
        assert row.agree == pytest.approx((a == b).mean())


def test_kappa_in_closed_form():
    # Cohen: observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    a, b = list("AAAAACCCCC"), list("AAAACAACCC")
    found = with_vote([made(a, {"s1": a, "s2": b})], ["s1", "s2"], "s1")
    row = agreement.agreement(found).iloc[0]
    assert row["agree"] == 0.7
    assert row["kappa"] == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_kappa_of_constant_labels_is_undefined():
    found = with_vote([made(list("AC"), {"s1": list("NN"), "s2": list("NN")})], ["s1", "s2"], "s1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = agreement.agreement(found).iloc[0]
    assert np.isnan(row["kappa"])
    assert row["agree"] == 1


def test_voters_of_all_ensembles_are_compared():
    split = five()
    found = Evaluation([split], {"one": Ensemble(["s1", "s2"], "s1"), "two": Ensemble(["st1", "s1"], "s1")})
    pairs = agreement.agreement(found)[["a", "b"]].values.tolist()
    assert pairs == [["s1", "s2"], ["s1", "st1"], ["s2", "st1"]]


@settings(max_examples=20)
@given(ballots, st.sampled_from(THREE))
def test_leave_one_out_is_the_vote_of_the_others(rows, tie_break):
    split = panel(rows)
    table = leave_one_out.leave_one_out(with_vote([split], THREE, tie_break), Bootstrap(1))
    truth = split.utterances["EmoClass"].tolist()
    labels = {name: split.predictions[name]["EmoClass"].tolist() for name in THREE}
    vote = split.predictions["vote"]["EmoClass"].tolist()
    own = {name: split.macro_f1(split.predicted[name]) for name in THREE}
    assert table["member"].tolist() == THREE
    for row in table.itertuples():
        others = [name for name in THREE if name != row.member]
        decider = tie_break if tie_break in others else max(others, key=own.get)
        expected = [ballot([labels[name][i] for name in others], labels[decider][i]) for i in range(len(truth))]
        assert row.n == len(truth)
        assert row.macro_f1 == own[row.member]
        assert row.agrees == np.mean([label == chosen for label, chosen in zip(labels[row.member], vote, strict=True)])
        assert row.changed == np.mean([one != other for one, other in zip(expected, vote, strict=True)])
        codes = np.array([CLASSES.index(letter) for letter in expected])
        assert row.without == pytest.approx(split.macro_f1(codes), abs=1e-12)
        assert row.effect == pytest.approx(split.macro_f1(split.predicted["vote"]) - row.without, abs=1e-12)


def test_an_effect_has_the_paired_interval():
    split = five()
    names = ["s1", "s2", "t1", "t2", "st1"]
    found = with_vote([split], names, "s2")
    table = leave_one_out.leave_one_out(found, Bootstrap(4000)).set_index("member")
    assert (table["low"] <= table["effect"]).all()
    assert (table["effect"] <= table["high"]).all()
    others = Ensemble([name for name in names if name != "t1"], "s2")
    without = encode(others.vote(split.predictions)["EmoClass"])
    _, resampled = Bootstrap(4000, 7).difference(split.truth, split.predicted["vote"], without, "again")
    np.testing.assert_allclose(table.loc["t1", ["low", "high"]].astype(float), interval(resampled), atol=0.005)
    assert table.loc["s2", "effect"] > table.loc["t1", "effect"]  # the best member has a larger effect than the worst


def test_best_member_on_validation_replaces_the_tie_breaker():
    validation = panel([("A", "A", "C", "A"), ("C", "C", "A", "H")])  # s1 is correct on all, t1 on half
    test = panel([("A", "C", "U", "A"), ("C", "A", "U", "C")], "test")  # here t1 is; s1 and t1 tie without s2
    table = leave_one_out.leave_one_out(with_vote([validation, test], THREE, "s2"), few)
    without = table.query("member == 's2' and split == 'test'")["without"].item()
    assert without == 0  # s1's labels
    blind = leave_one_out.leave_one_out(with_vote([test], ["t1", "s1", "s2"], "s2"), few)
    assert blind.query("member == 's2'")["without"].item() == 1  # no validation: the first


def test_tie_rule_is_kept_without_a_member():
    split = five()
    others = list(split.predictions)
    split.predictions["sixth"] = split.predictions["t1"].copy()
    measured = []
    for rule in ("label", "probabilities"):
        table = leave_one_out.leave_one_out(with_vote([split], [*others, "sixth"], "s2", rule), few)
        expected = split.macro_f1(encode(Ensemble(others, "s2", rule).vote(split.predictions)["EmoClass"]))
        measured.append(table.query("member == 'sixth'")["without"].item())
        assert measured[-1] == expected
    assert measured[0] != measured[1]


def test_ensemble_of_two_members():
    split = panel([("A", "A", "C", "H"), ("C", "A", "C", "H"), ("U", "U", "C", "H")])
    table = leave_one_out.leave_one_out(with_vote([split], ["s1", "s2"], "s2"), few).set_index("member")
    assert table.loc["s1", "without"] == split.macro_f1(split.predicted["s2"])
    assert table.loc["s2", "without"] == split.macro_f1(split.predicted["s1"])
    assert table.loc["s1", "changed"] == 0  # s2 decided anyway


def test_ensemble_of_one_member_is_skipped():
    found = with_vote([five()], ["s1"], "s1")
    table = leave_one_out.leave_one_out(found, few)
    assert table.empty
    assert list(table.columns) == leave_one_out.COLUMNS
    assert len(oracle.oracle(found)) == 1


def test_rows_of_members_are_independent():
    first, second = five(), five(split="test", seed=9)
    names = ["s1", "s2", "st1"]
    both = leave_one_out.leave_one_out(with_vote([first, second], names, "s2"), few)
    one = leave_one_out.leave_one_out(with_vote([first], names, "s2"), few)
    assert both[both["split"] == "validation"].values.tolist() == one.values.tolist()


@settings(max_examples=30)
@given(ballots)
def test_oracle_is_correct_if_any_member_is(rows):
    split = panel(rows)
    row = oracle.oracle(with_vote([split], THREE, "s2")).iloc[0]
    vote = split.predictions["vote"]["EmoClass"]
    chosen = [truth if truth in labels else voted for (truth, *labels), voted in zip(rows, vote, strict=True)]
    truth = split.utterances["EmoClass"].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert row["oracle"] == pytest.approx(f1_score(truth, chosen, average="macro"))
        assert row["vote"] == pytest.approx(f1_score(truth, vote, average="macro"))
    assert row["unanimous"] == pytest.approx(np.mean([len(set(labels)) == 1 for _, *labels in rows]))
    assert row["all_wrong"] == pytest.approx(np.mean([truth not in labels for truth, *labels in rows]))
    assert row["n"] == len(rows)
    assert row["oracle"] >= row["vote"] - 1e-12


def test_without_ensembles_all_three_are_empty():
    found = Evaluation([five()], {})
    for table, columns in (
        (agreement.agreement(found), agreement.COLUMNS),
        (leave_one_out.leave_one_out(found, few), leave_one_out.COLUMNS),
        (oracle.oracle(found), oracle.COLUMNS),
    ):
        assert table.empty
        assert list(table.columns) == columns
