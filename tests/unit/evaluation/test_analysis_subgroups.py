import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from abhinaya.data.schemas import VOTES
from abhinaya.evaluation.analysis import subgroups
from abhinaya.evaluation.analysis.bootstrap import Bootstrap
from abhinaya.evaluation.analysis.predictions import Evaluation
from support.analysis_parts import guess, made, truths

few = Bootstrap(30)


def split(n: int = 240, name: str = "validation", **columns):
    truth = truths(n)
    return made(truth, {"s1": guess(truth, 0.4, 1), "s2": guess(truth, 0.6, 2)}, name, **columns)


def groups(column: str, **columns) -> list:
    values = next(iter(columns.values()))
    found = subgroups.group(made(["A"] * len(values), {}, **columns))[column]
    return found.astype(object).where(found.notna(), None).tolist()


def test_scores_of_a_group():
    gender = np.random.default_rng(3).choice(["Female", "Male"], 240)
    found = split(Gender=gender)
    table = subgroups.subgroups(Evaluation([found], {}), Bootstrap(200)).query("variable == 'gender'")
    assert list(table.columns) == subgroups.COLUMNS
    assert table[["system", "group"]].values.tolist() == [
        ["s1", "Female"], ["s1", "Male"], ["s2", "Female"], ["s2", "Male"],
    ]  # fmt: skip
    for row in table.itertuples():
        chosen = gender == row.group
        truth, predicted = found.truth[chosen], found.predicted[row.system][chosen]
        assert row.n == chosen.sum()
        assert row.macro_f1 == pytest.approx(f1_score(truth, predicted, labels=np.unique(truth), average="macro"))
        assert row.uar == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert row.accuracy == pytest.approx(accuracy_score(truth, predicted))
        assert 0 <= row.low < row.macro_f1 < row.high <= 1


def test_macro_f1_is_over_the_true_classes_of_the_group_for_all_predictions():
    truth, right = ["A"] * 20 + ["N"] * 20, ["A"] * 18 + ["N"] * 18
    guesses = {
        "mixes": [*right[:18], "N", "N", *right[18:], "A", "A"],
        "strays": [*right[:18], *"HH", *right[18:], *"HH"],
    }
    found = made(truth, guesses, Gender=["Female"] * 40)
    table = subgroups.subgroups(Evaluation([found], {}), few).query("variable == 'gender'").set_index("system")
    assert table["accuracy"].tolist() == [0.9, 0.9]
    assert table.loc["mixes", "macro_f1"] == pytest.approx(0.9)
    assert table.loc["strays", "macro_f1"] == pytest.approx(36 / 38)  # H counts as errors, not as a class with F1 0
    assert (table["low"] <= table["macro_f1"]).all() and (table["macro_f1"] <= table["high"]).all()


def test_macro_f1_is_over_the_classes_that_occur_in_the_group():
    found = made(list("AACC"), {"s1": list("AACC")}, Gender=["Female", "Female", "Male", "Male"])
    table = subgroups.subgroups(Evaluation([found], {}), few).query("variable == 'gender'")
    assert table["macro_f1"].tolist() == [1, 1]
    assert table[["low", "high"]].to_numpy().tolist() == [[1, 1], [1, 1]]


def test_durations_fall_into_their_bins():
    assert groups("duration", duration=[0.3, 1.999, 2.0, 3.9, 4, 6, 7.5, 8, 9.99, 10, 300]) == [
        "under 2 s", "under 2 s", "2 to 4 s", "2 to 4 s", "4 to 6 s", "6 to 8 s", "6 to 8 s",
        "8 to 10 s", "8 to 10 s", "10 s and more", "10 s and more",
    ]  # fmt: skip


def test_words_of_empty_and_missing_transcripts():
    counts = [0, 1, 5, 6, 10, 11, 20, 21, 50, 51, 400]
    texts = [" ".join(["word"] * count) for count in counts]
    names = ["none", "1 to 5", "1 to 5", "6 to 10", "6 to 10", "11 to 20", "11 to 20", "21 to 50", "21 to 50"]
    assert groups("words", text=texts) == [*names, "over 50", "over 50"]
    assert groups("words", text=["  ", None, " one  two\n"]) == ["none", None, "1 to 5"]


def agreeing(label: int | None, others: int | None) -> dict[str, list]:
    """Annotators' votes for A, the label of `groups`, and for N."""
    return {
        "votes_A": [label],
        "votes_N": [others],
        **{vote: [0] for vote in VOTES if vote not in ("votes_A", "votes_N")},
    }


@pytest.mark.parametrize(
    ("label", "others", "group"),
    [
        (0, 5, "below half"),
        (2, 3, "below half"),
        (1, 1, "half to two thirds"),
        (3, 2, "half to two thirds"),
        (2, 1, "two thirds and more"),
        (4, 2, "two thirds and more"),
        (9, 1, "two thirds and more"),
        (5, 0, "all"),
        (1, 0, "all"),
        (0, 0, None),
        (None, None, None),
    ],
)
def test_agreement_is_the_share_of_votes_for_the_label(label, others, group):
    assert groups("agreement", **agreeing(label, others)) == [group]


def test_agreement_uses_the_label_of_each_utterance():
    votes = {vote: [1, 1] for vote in VOTES}
    votes["votes_A"], votes["votes_C"] = [9, 0], [0, 93]
    found = subgroups.group(made(list("AC"), {}, **votes))["agreement"]
    assert found.tolist() == ["half to two thirds", "two thirds and more"]


def test_most_frequent_speakers_are_separate_groups():
    counts = {f"speaker{index:02d}": count for index, count in enumerate([5, 9, 9, 2, 8, 7, 6, 5, 4, 3, 3, 3, 1])}
    speakers = [name for name, count in counts.items() for _ in range(count)] + [None] * 4
    found = split(len(speakers), SpkrID=speakers)
    table = subgroups.subgroups(Evaluation([found], {}), few).query("variable == 'speaker' and system == 's1'")
    shown = ["speaker01", "speaker02", "speaker04", "speaker05", "speaker06"]
    shown += ["speaker00", "speaker07", "speaker08", "speaker09", "speaker10"]  # by name when equal
    assert table["group"].tolist() == [*shown, "other speakers"]
    assert table["n"].tolist() == [*[counts[name] for name in shown], 2 + 3 + 1]


def test_speaker_named_like_the_group_of_others():
    split = made(list("ACAC"), {"s1": list("ACAC")}, SpkrID=[subgroups.OTHERS, "b", "a", "b"])
    assert subgroups.group(split)["speaker"].tolist() == [subgroups.OTHERS, "b", "a", "b"]


def test_few_speakers_have_no_group_of_others():
    found = split(20, SpkrID=["a", "b"] * 10)
    table = subgroups.subgroups(Evaluation([found], {}), few).query("variable == 'speaker'")
    assert set(table["group"]) == {"a", "b"}


def test_variable_without_values_is_omitted():
    table = subgroups.subgroups(Evaluation([split()], {}), few)
    assert table["variable"].unique().tolist() == ["duration"]
    assert table["group"].unique().tolist() == ["2 to 4 s"]
    assert subgroups.subgroups(Evaluation([split(duration=np.nan)], {}), few).empty


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 100), st.text(max_size=80)), min_size=1, max_size=20))
def test_groups_partition_the_utterances(examples):
    durations, texts = map(list, zip(*examples, strict=True))
    found = made(["A"] * len(examples), {"s1": ["A"] * len(examples)}, duration=durations, text=texts)
    table = subgroups.subgroups(Evaluation([found], {}), Bootstrap(2))
    assert table.groupby("variable")["n"].sum().to_dict() == {"duration": len(examples), "words": len(examples)}


def test_groups_are_in_order():
    found = split(40, duration=[12.0, 1.0, 5.0, 3.0] * 10)
    table = subgroups.subgroups(Evaluation([found], {}), few).query("system == 's2'")
    assert table["group"].tolist() == ["under 2 s", "2 to 4 s", "4 to 6 s", "10 s and more"]


def test_interval_of_a_group_is_independent_of_other_groups():
    gender = ["Female", "Male"] * 120
    first, second = split(Gender=gender), split(name="test", Gender=gender)
    both = subgroups.subgroups(Evaluation([second, first], {}), few)
    one = split(Gender=gender)
    del one.predictions["s2"]
    alone = subgroups.subgroups(Evaluation([one], {}), few)
    same = both.query("system == 's1' and split == 'validation'").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone)
    again = subgroups.subgroups(Evaluation([one], {}), Bootstrap(30, 2))
    assert again["low"].tolist() != alone["low"].tolist()
    twin = both.query("system == 's1' and split == 'test'")
    assert twin["macro_f1"].tolist() == alone["macro_f1"].tolist()
    assert twin["low"].tolist() != alone["low"].tolist()  # other resamples


def test_without_labels_the_table_is_empty():
    table = subgroups.subgroups(Evaluation([], {}), few)
    assert table.empty
    assert list(table.columns) == subgroups.COLUMNS
