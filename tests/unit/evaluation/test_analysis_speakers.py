import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from abhinaya.evaluation import metrics
from abhinaya.evaluation.analysis import bootstrap as bootstrap_module
from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval, p_value
from abhinaya.evaluation.analysis.predictions import MIN_SPEAKERS, Evaluation, Split
from abhinaya.evaluation.analysis.significance import compare
from abhinaya.evaluation.analysis.speakers import COLUMNS, speakers
from abhinaya.labels import CLASSES
from support.analysis_parts import guess, made, truths

pytestmark = pytest.mark.usefixtures("quick_garbage_collection")

OF_SPEAKERS = ["speakers_low", "speakers_high", "p_speakers", "p_speakers_holm"]
indices = st.integers(0, 7)
rows = st.lists(st.tuples(st.integers(0, 4), indices, indices, indices), min_size=2, max_size=40)


def spoken(n: int = 300, people: int = 30, seed: int = 0, known: bool = True) -> Split:
    """Systems s1 and t1; t1 is better, but each is better on some speakers."""
    truth = truths(n, seed)
    speaker = np.arange(n) % people
    understood = np.random.default_rng(seed).random((2, people)) < np.array([[0.4], [0.6]])
    wrong = np.where(truth == "N", "H", "N")
    guesses = {
        name: np.where(understood[i][speaker], truth, np.where(np.arange(n) % 3, wrong, truth))
        for i, name in enumerate(("s1", "t1"))
    }
    names = [f"speaker {i}" if known else None for i in speaker]
    return made(truth, guesses, SpkrID=names)


def naive(split: Split, name: str, resamples: int) -> np.ndarray:
    """Macro-F1 over the utterances of speakers that are resampled with replacement."""
    rng = np.random.default_rng(5)
    of = [np.flatnonzero(split.speakers == speaker) for speaker in np.unique(split.speakers)]
    occurring, true = np.union1d(split.truth, split.predicted[name]), np.unique(split.truth)
    resampled = []
    for _ in range(resamples):
        chosen = np.concatenate([of[i] for i in rng.integers(len(of), size=len(of))])
        truth, predicted = split.truth[chosen], split.predicted[name][chosen]
        present = np.setdiff1d(occurring, np.setdiff1d(true, truth))
        resampled.append(f1_score(truth, predicted, labels=present, average="macro", zero_division=0))
    return np.array(resampled)


def resample_macro_f1(split: Split, resamples: int, *names: str) -> dict[str, np.ndarray]:
    return Bootstrap(resamples).by_speaker(split.speakers, split.truth, split.predicted, *names)


def test_agrees_with_resampling_speakers():
    split = spoken()
    ours, expected = resample_macro_f1(split, 4000, "x")["s1"], naive(split, "s1", 600)
    spread = expected.std()
    assert ours.mean() == pytest.approx(expected.mean(), abs=0.15 * spread)
    assert ours.std() == pytest.approx(spread, rel=0.1)
    np.testing.assert_allclose(interval(ours), np.percentile(expected, [2.5, 97.5]), atol=0.3 * spread)


@given(rows, st.integers(0, 2**32))
def test_stays_in_range_and_a_system_does_not_differ_from_itself(given_rows, seed):
    speaker, truth, a, b = np.array(given_rows).T
    speaker = pd.factorize(speaker)[0]
    resampled = Bootstrap(20, seed).by_speaker(speaker, truth, {"a": a, "again": a, "b": b}, "x")
    assert {name: values.shape for name, values in resampled.items()} == dict.fromkeys(("a", "again", "b"), (20,))
    np.testing.assert_array_equal(resampled["a"], resampled["again"])
    for values in resampled.values():
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()


def test_batch_size_does_not_change_resamples(monkeypatch):
    split = spoken()
    whole = resample_macro_f1(split, 50, "x")
    monkeypatch.setattr(bootstrap_module, "BATCH_SIZE", 7)
    for name, values in resample_macro_f1(split, 50, "x").items():
        np.testing.assert_array_equal(values, whole[name])


def test_single_speaker_gives_the_score():
    split = made(list("ACAC"), {"s1": list("ACCC")}, SpkrID=["a", "a", "a", "a"])
    resampled = Bootstrap(9).by_speaker(np.zeros(4, int), split.truth, split.predicted, "x")["s1"]
    np.testing.assert_allclose(resampled, split.macro_f1(split.predicted["s1"]))


@pytest.mark.parametrize("people", [8, 20])
def test_class_missing_in_a_resample_is_excluded(people):
    """Each class belongs to one or two speakers."""
    truth = [CLASSES[i % 8] for i in range(people)]
    wrong = [CLASSES[(i + 1) % 8] for i in range(people)]
    split = made(truth, {"right": truth, "wrong": wrong}, SpkrID=[f"speaker {i}" for i in range(people)])
    resampled = Bootstrap(200).by_speaker(np.arange(people), split.truth, split.predicted, "x")
    assert set(resampled["right"]) == {1.0}
    assert set(resampled["wrong"]) == {0.0}


def test_a_class_that_is_only_predicted_counts_0_as_in_the_scores():
    split = made(list("AAAA"), {"s1": list("AACC")}, SpkrID=list("aabb"))
    resampled = Bootstrap(200).by_speaker(np.array([0, 0, 1, 1]), split.truth, split.predicted, "x")["s1"]
    assert np.unique(resampled) == pytest.approx([0, split.macro_f1(split.predicted["s1"]), 0.5])


def test_a_class_of_one_speaker_leaves_the_score_in_its_interval():
    truth = np.array(["F"] * 10 + list("ACHN") * 40)
    names = ["a"] * 10 + [f"speaker {i % 32}" for i in range(160)]
    split = made(truth, {"s1": guess(truth, 0.9, 3)}, SpkrID=names)
    low, high = interval(resample_macro_f1(split, 1000, "x")["s1"])
    score = split.macro_f1(split.predicted["s1"])
    assert low < score < high
    assert low > score - 0.15


def test_p_values_of_equal_systems_on_a_dozen_speakers_are_near_their_level():
    """Each system is better on some speakers; on average both are equal."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        speaker = np.repeat(np.arange(MIN_SPEAKERS + 2), 40)
        truth, *guesses = rng.integers(0, 8, (3, len(speaker)))
        right = np.clip(rng.normal(0.5, 0.1, (2, speaker.max() + 1)), 0, 1)
        a, b = (
            np.where(rng.random(len(truth)) < of[speaker], truth, wrong)
            for of, wrong in zip(right, guesses, strict=True)
        )
        resampled = Bootstrap(199, seed).by_speaker(speaker, truth, {"a": a, "b": b}, "x")
        found.append(p_value(resampled["a"] - resampled["b"]) < 0.05)
    assert (
        np.mean(found) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(found)) + 0.03
    )  # slightly anti-conservative, as documented


def test_interval_is_wider_than_that_of_scores_if_speakers_differ():
    split = spoken(people=20)
    table = speakers(Evaluation([split], {}), Bootstrap(1000)).set_index("system")
    manifest, predictions = split.utterances.reset_index(), split.predictions["s1"].reset_index()
    low, high = metrics.score(manifest, predictions)["validation"]["macro_f1_interval"]
    assert table.loc["s1", "high"] - table.loc["s1", "low"] > 1.3 * (high - low)


def test_a_row_for_each_system():
    split = spoken()
    table = speakers(Evaluation([split], {}), Bootstrap(200))
    assert list(table.columns) == COLUMNS
    assert table["system"].tolist() == ["s1", "t1"]
    assert (table["n"] == 300).all() and (table["speakers"] == 30).all()
    assert table["macro_f1"].tolist() == [split.macro_f1(split.predicted[name]) for name in ("s1", "t1")]
    assert ((table["low"] < table["macro_f1"]) & (table["macro_f1"] < table["high"])).all()


def test_a_pair_is_compared_on_the_same_speakers():
    split = spoken()
    row = compare(Evaluation([split], {}), Bootstrap(500)).iloc[0]
    resampled = resample_macro_f1(split, 500, "speakers", "validation")
    assert (row["speakers_low"], row["speakers_high"]) == interval(resampled["s1"] - resampled["t1"])
    apart = speakers(Evaluation([split], {}), Bootstrap(500)).set_index("system")
    assert apart.loc["s1", "low"] == interval(resampled["s1"])[0]


def test_significance_over_utterances_and_over_speakers_differ():
    """One of twelve speakers has most utterances; only on these t1 is better."""
    truth = np.array(list("AC") * 200)
    speaker = np.array(["often"] * 290 + [f"speaker {i % 11}" for i in range(110)])
    half = guess(truth, 0.2, 1)
    split = made(truth, {"s1": half, "t1": np.where(speaker == "often", truth, half)}, SpkrID=speaker)
    row = compare(Evaluation([split], {}), Bootstrap(999)).iloc[0]
    assert row["p_bootstrap_holm"] == pytest.approx(2 / 1000)
    assert row["p_speakers_holm"] > 0.05
    assert row["speakers_high"] >= 0 > row["high"]


def test_utterance_of_an_unknown_speaker_is_a_separate_speaker():
    known = [f"speaker {i}" for i in range(MIN_SPEAKERS)]
    split = made(list("ACAC") * 3, {"s1": list("ACAC") * 3}, SpkrID=["speaker 0", None, None, *known[1:]])
    assert split.speakers.tolist() == [0, 10, 11, *range(1, 10)]
    assert speakers(Evaluation([split], {}), Bootstrap(5))["speakers"].tolist() == [MIN_SPEAKERS]


@pytest.mark.parametrize("known", [0, 1, MIN_SPEAKERS - 1])
def test_few_speakers_give_no_intervals(known):
    names = [f"speaker {i}" if i < known else None for i in range(20)]
    split = made(list("ACAC") * 5, {"s1": list("ACAC") * 5, "s2": list("AAAA") * 5}, SpkrID=names)
    evaluation = Evaluation([split], {})
    assert split.speakers is None
    assert speakers(evaluation, Bootstrap(5)).empty
    assert list(speakers(evaluation, Bootstrap(5)).columns) == COLUMNS
    row = compare(evaluation, Bootstrap(5)).iloc[0]
    assert row[OF_SPEAKERS].isna().all()
    assert not np.isnan(row["p_bootstrap_holm"])
