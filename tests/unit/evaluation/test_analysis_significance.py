import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from abhinaya.evaluation import metrics
from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval, p_value
from abhinaya.evaluation.analysis.predictions import Evaluation, confusion
from abhinaya.evaluation.analysis.significance import COLUMNS, compare
from abhinaya.runtime.errors import UserError
from support.analysis_parts import guess, made, truths

pytestmark = pytest.mark.usefixtures("quick_garbage_collection")

indices = st.integers(0, 7)
triples = st.lists(st.tuples(indices, indices, indices), min_size=1, max_size=40)
few = Bootstrap(50)


def three(n: int = 300, split: str = "validation", seed: int = 0):
    """Two equally good systems, s1 and s2, and a better one, t1."""
    truth = truths(n, seed)
    rights = {"s1": 0.4, "s2": 0.4, "t1": 0.7}
    return made(
        truth, {name: guess(truth, right, seed + i + 1) for i, (name, right) in enumerate(rights.items())}, split
    )


def codes(examples) -> np.ndarray:
    return np.array(examples).T


def naive(truth, a, b, resamples: int, seed: int) -> np.ndarray:
    """Differences of macro-F1 over utterances that are resampled with replacement within each true class."""
    rng = np.random.default_rng(seed)
    strata = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    differences = []
    for _ in range(resamples):
        rows = np.concatenate([rng.choice(stratum, len(stratum)) for stratum in strata])
        scores = [
            2 * counts.diagonal() / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)
            for counts in (confusion(truth[rows], a[rows]), confusion(truth[rows], b[rows]))
        ]
        differences.append(scores[0].mean() - scores[1].mean())
    return np.array(differences)


def test_paired_bootstrap_agrees_with_resampling_utterances():
    split = three()
    a, b = split.predicted["s1"], split.predicted["t1"]
    b = np.where(np.arange(len(b)) % 3, a, b)  # they agree on most utterances
    observed, resampled = Bootstrap(4000).difference(split.truth, a, b, "x")
    expected = naive(split.truth, a, b, 800, seed=5)
    assert observed == pytest.approx(split.macro_f1(a) - split.macro_f1(b), abs=1e-12)
    spread = expected.std()
    assert resampled.mean() == pytest.approx(expected.mean(), abs=0.15 * spread)
    assert resampled.std() == pytest.approx(spread, rel=0.08)
    np.testing.assert_allclose(interval(resampled), np.percentile(expected, [2.5, 97.5]), atol=0.3 * spread)


def test_pairing_narrows_the_interval():
    split = three()
    a = split.predicted["t1"]
    b = np.where(np.arange(len(a)) % 10, a, split.predicted["s1"])
    _, paired = Bootstrap(2000).difference(split.truth, a, b, "x")
    everything = np.ones(8, bool)
    apart = [
        Bootstrap(2000).macro_f1(confusion(split.truth, given), everything, name)
        for given, name in ((a, "a"), (b, "b"))
    ]
    assert paired.std() < 0.6 * (apart[0] - apart[1]).std()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@given(triples, st.integers(0, 2**32))
def test_differences_equal_those_of_scikit_learn_and_stay_in_range(examples, seed):
    truth, a, b = codes(examples)
    bootstrap = Bootstrap(20, seed)
    observed, values = bootstrap.difference(truth, a, b, "x")
    expected = f1_score(truth, a, average="macro") - f1_score(truth, b, average="macro")
    assert observed == pytest.approx(expected, abs=1e-12)
    assert values.shape == (20,)
    assert (np.abs(values) <= 1 + 1e-12).all()
    low, high = interval(values)
    assert low <= high
    assert 2 / 21 <= p_value(values) <= 1


def test_a_resample_is_scored_over_the_classes_of_all_utterances():
    truth, a, b = np.zeros(4, int), np.zeros(4, int), np.array([0, 0, 0, 1])
    observed, resampled = Bootstrap(200).difference(truth, a, b, "x")
    assert observed == pytest.approx(1 - (6 / 7 + 0) / 2)
    assert resampled.min() == 0.5  # a resample without the only error: its class still counts, with 0
    counts = confusion(truth, b)
    assert Bootstrap(200).macro_f1(counts, counts.any(axis=0), "x").max() == 0.5
    assert Bootstrap(200).macro_f1(counts, counts.any(axis=1), "x").max() == 1


@given(triples)
def test_system_does_not_differ_from_itself(examples):
    truth, a, _ = codes(examples)
    observed, values = few.difference(truth, a, a, "x")
    assert observed == 0
    assert not values.any()
    assert p_value(values) == 1


def test_interval_of_one_system_equals_that_of_its_score():
    split = three(200)
    counts = confusion(split.truth, split.predicted["s1"])
    resampled = Bootstrap(20_000).macro_f1(counts, counts.any(axis=0) | counts.any(axis=1), "x")
    rows = split.utterances.reset_index()
    scores = metrics.score(rows, split.predictions["s1"].reset_index(), 20_000)["validation"]
    np.testing.assert_allclose(interval(resampled), scores["macro_f1_interval"], atol=0.003)


def test_p_value_in_closed_form():
    assert p_value(np.array([-0.5, 1, 2, 3, 4, 5, 6])) == 2 * (1 + 1) / 8
    assert p_value(-np.array([-0.5, 1, 2, 3, 4, 5, 6])) == 2 * (1 + 1) / 8
    assert p_value(np.ones(999)) == 2 / 1000  # the smallest
    assert p_value(np.array([-1.0, 1.0])) == 1
    assert p_value(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])) == 1  # 0 counts for both signs


@given(
    st.integers(20, 400),
    st.integers(0, 2**32),
    st.floats(1, 3),
    st.sampled_from([0.05, 0.5, 10]),
    st.sampled_from([-1, 1]),
)
def test_p_value_and_interval_agree_on_whether_there_is_a_difference(resamples, seed, shift, grain, sign):
    rng = np.random.default_rng(seed)
    skewed = rng.gamma(2, 1, resamples) - 2 + shift  # a symmetric pivot would contradict its percentiles
    resampled = sign * np.round(skewed / grain) * grain  # with ties, at 0 too
    low, high = interval(resampled)
    p, draw = p_value(resampled), 2 / (resamples + 1)
    if p < 0.05:
        assert low > 0 or high < 0
    if low > 0 or high < 0:
        assert p < 0.05 + 2 * draw  # an end of the interval may lie between two resamples, and p counts one more


def test_p_values_of_equal_systems_are_uniform():
    values = []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        truth, *guesses = rng.integers(0, 8, (3, 300))
        of_a, of_b = (np.where(rng.random(300) < 0.5, truth, guess) for guess in guesses)
        values.append(p_value(Bootstrap(99).difference(truth, of_a, of_b, "x")[1]))
    for level in (0.06, 0.26, 0.5, 0.76):
        error = np.sqrt(level * (1 - level) / len(values))
        assert abs(np.mean(np.array(values) <= level) - level) < 3 * error


def test_resamples_depend_only_on_seed_and_names():
    one, again = (Bootstrap(5, 1).generator("a", "b").random() for _ in range(2))
    assert one == again
    others = [Bootstrap(5, seed).generator(*given).random() for seed, given in ((2, "ab"), (1, "ba"), (1, ["ab"]))]
    assert len({one, *others}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1), "bootstrap: 0 resamples"), ((-3, 1), "bootstrap: -3"), ((10, -1), "seed: -1 is negative")],
)
def test_invalid_bootstrap_settings_are_a_user_error(arguments, message):
    with pytest.raises(UserError, match=message):
        Bootstrap(*arguments)


def test_all_pairs_of_each_split_are_compared():
    table = compare(Evaluation([three(), three(split="test", seed=9)], {}), Bootstrap(400))
    assert list(table.columns) == COLUMNS
    pairs = [("s1", "s2"), ("s1", "t1"), ("s2", "t1")]
    assert list(zip(table["split"], table["a"], table["b"], strict=True)) == [
        (split, *pair) for split in ("validation", "test") for pair in pairs
    ]
    assert (table["n"] == 300).all()
    assert ((table["low"] < table["difference"]) & (table["difference"] < table["high"])).all()
    better = table[table["b"] == "t1"]
    assert (better["high"] < 0).all()
    assert (better["p_bootstrap_holm"] < 0.05).all()
    assert (better["p_mcnemar_holm"] < 0.05).all()
    assert (table[table["b"] == "s2"]["p_bootstrap"] > 0.05).all()


def test_the_discordant_utterances_are_counted():
    truth = list("AAAAAACCHH")
    split = made(truth, {"a": list("AAAAAUCCUU"), "b": list("AAUUUACCUU")})
    row = compare(Evaluation([split], {}), few).iloc[0]
    assert (row["only_a_right"], row["only_b_right"]) == (3, 1)
    assert row["p_mcnemar"] == pytest.approx(binomtest(1, 4).pvalue)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (7, 0), (3, 3), (20, 5), (25, 0), (40, 22), (30, 30)])
def test_mcnemar_is_exact(only_a, only_b):
    same = 20
    truth = ["A"] * (only_a + only_b + same)
    a = ["A"] * only_a + ["C"] * only_b + ["A"] * same
    b = ["C"] * only_a + ["A"] * only_b + ["A"] * same
    row = compare(Evaluation([made(truth, {"a": a, "b": b})], {}), few).iloc[0]
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1
    assert row["p_mcnemar"] == pytest.approx(expected, abs=1e-12)
    assert (row["p_mcnemar"] == 1) == (only_a == only_b)


def holm(values: list[float]) -> list[float]:
    """Holm's correction (1979), computed independently."""
    order = np.argsort(values)
    adjusted, worst = np.empty(len(values)), 0.0
    for rank, position in enumerate(order):
        worst = max(worst, min(1, (len(values) - rank) * values[position]))
        adjusted[position] = worst
    return list(adjusted)


def test_holm_corrects_within_a_split():
    table = compare(Evaluation([three(), three(40, "test", seed=9)], {}), Bootstrap(200))
    for _, rows in table.groupby("split"):
        for test in ("p_bootstrap", "p_mcnemar"):
            np.testing.assert_allclose(rows[f"{test}_holm"], holm(rows[test].tolist()))


def test_pairs_are_independent_of_each_other():
    split, other = three(), three(50, "test")
    for found in (split, other):
        found.utterances["SpkrID"] = [f"speaker {i % 20}" for i in range(len(found.utterances))]
    alone = made(split.utterances["EmoClass"], {}, SpkrID=list(split.utterances["SpkrID"]))
    alone.predictions.update({name: split.predictions[name] for name in ("s1", "t1")})
    plain = [column for column in COLUMNS if not column.endswith("holm")]
    enough, another = Bootstrap(300), Bootstrap(300, 2)
    among = compare(Evaluation([other, split], {}), enough).query("split == 'validation' and a == 's1' and b == 't1'")
    among = among.reset_index(drop=True)[plain]
    assert among.equals(compare(Evaluation([alone], {}), enough)[plain])
    assert not among.equals(compare(Evaluation([alone], {}), another)[plain])


def test_each_pair_has_its_own_resamples():
    split = three()
    split.predictions["twin"] = split.predictions["t1"]
    table = compare(Evaluation([split], {}), few).query("a == 's1' and b in ['t1', 'twin']")
    assert table["difference"].nunique() == 1
    assert table["low"].nunique() == 2


def test_single_system_gives_an_empty_table():
    for splits in ([], [made(list("AC"), {"s1": list("AC")})]):
        table = compare(Evaluation(splits, {}), few)
        assert list(table.columns) == COLUMNS
        assert table.empty


@pytest.mark.parametrize("systems", [2, 3, 6])
def test_resamples_suffice_for_significance_after_holm(systems):
    truth = list("AC") * 10
    right = {"right": truth} | {f"wrong{i}": list("CA") * 10 for i in range(systems - 1)}
    pairs = systems * (systems - 1) // 2
    for requested in (1, 2000):
        table = compare(Evaluation([made(truth, right)], {}), Bootstrap(requested))
        smallest = table["p_bootstrap_holm"].min()
        resampled = max(requested, 80 * pairs - 1)
        assert smallest == pytest.approx(pairs * 2 / (resampled + 1))
        assert smallest <= 0.025 + 1e-12
