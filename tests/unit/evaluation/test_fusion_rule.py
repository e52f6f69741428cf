"""The rules of a fusion: closed forms, parity with scikit-learn, simulation, edge cases, JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from abhinaya.evaluation.fusion import linear, rule
from abhinaya.evaluation.fusion.calibration import fit_temperature
from abhinaya.evaluation.fusion.cross_fitting import cross_fitted, folds, groups_of, within_one_error
from abhinaya.evaluation.fusion.rule import FittedFusion, Method, fit
from abhinaya.evaluation.fusion.sample import Sample, balanced_macro_f1, log_probabilities, log_softmax
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import write_json
from support.fusion_parts import sample, tables

FITTED = [
    Method("mean"),
    Method("log_mean"),
    Method("log_mean", "vector", True),
    Method("weighted"),
    Method("stacking"),
]


def fusion(method: Method, made: Sample, names: list[str]) -> FittedFusion:
    return FittedFusion(rule=method.rule, members=names, classes=list(CLASSES), fitted=fit(method, made, 0))


def test_without_calibration_the_rules_are_the_means() -> None:
    made = sample(20)
    probabilities = np.exp(made.logs)
    mean = np.exp(rule.unfitted("mean", 2, 8).apply(made.logs))
    assert mean == pytest.approx(probabilities.mean(axis=1))
    product = np.sqrt(probabilities[:, 0] * probabilities[:, 1])
    log_mean = np.exp(rule.unfitted("log_mean", 2, 8).apply(made.logs))
    assert log_mean == pytest.approx(product / product.sum(axis=1, keepdims=True))
    assert rule.fit(Method("mean", "none"), made, 0).apply(made.logs) == pytest.approx(np.log(mean))


def test_equal_weights_are_the_log_mean() -> None:
    made = sample(50)
    equal = linear.combine(np.full(2, 0.5), np.zeros(8))(made.logs)
    assert equal == pytest.approx(rule.unfitted("log_mean", 2, 8).apply(made.logs))
    blocks = np.repeat(np.eye(8)[:, None], 2, axis=1) / 2
    assert linear.combine(blocks, np.zeros(8))(made.logs) == pytest.approx(equal)


@pytest.mark.parametrize("fit_linear", [linear.fit_weights, linear.fit_stacking])
def test_with_a_large_penalty_the_fitted_rules_are_the_log_mean(fit_linear) -> None:
    made = sample(200, (0.5, 1.5))
    fused = linear.combine(*fit_linear(made, 1e7))(made.logs)
    pooled = made.logs.mean(axis=1)
    temperature = fit_temperature(pooled, made.truth, made.weights)
    assert fused == pytest.approx(log_softmax(pooled / temperature), abs=1e-4)


def test_stacking_towards_zero_is_scikit_learns_regression() -> None:
    made, penalty = sample(300, (1.0, 1.5)), 0.01
    coefficients, bias = linear.fit_stacking(made, penalty, towards=np.zeros((8, 2, 8)))
    features = np.hstack([made.logs.reshape(300, -1), np.ones((300, 1))])
    theirs = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-8, max_iter=5000)
    theirs.fit(features, made.truth, sample_weight=made.weights)
    fused = np.exp(linear.combine(coefficients, bias)(made.logs))
    assert fused == pytest.approx(theirs.predict_proba(features), abs=1e-3)


def test_weights_find_the_exact_members_and_ignore_a_useless_one() -> None:
    made = sample(8000, (1.5, 1.0, 0.0))
    noise = np.random.default_rng(1).normal(size=(8000, 8))
    logs = np.stack([made.logs[:, 0], made.logs[:, 1], log_softmax(noise)], axis=1)
    weights, bias = linear.fit_weights(Sample(logs, made.truth, made.groups), 1e-6)
    # Independent exact members multiply: weight 1 for both.
    assert weights == pytest.approx([1, 1, 0], abs=0.08)
    assert bias == pytest.approx(0, abs=0.1)


def test_weights_are_not_negative() -> None:
    made = sample(500, (1.0, 1.0))
    against = Sample(np.stack([made.logs[:, 0], log_softmax(-made.logs[:, 1])], axis=1), made.truth, made.groups)
    assert linear.fit_weights(against, 1e-6)[0] == pytest.approx([1, 0], abs=0.2)
    assert linear.fit_weights(against, 1e-6)[0][1] == 0


@pytest.mark.parametrize("method", FITTED, ids=lambda method: f"{method.rule}-{method.calibration}")
def test_fused_independent_members_beat_each(method: Method) -> None:
    made, new = sample(600, (0.8, 1.0, 1.2)), sample(3000, (0.8, 1.0, 1.2), seed=1)
    fused = balanced_macro_f1(new, fit(method, made, 0).apply(new.logs).argmax(axis=1))
    assert fused > max(balanced_macro_f1(new, new.logs[:, place].argmax(axis=1)) for place in range(3)) + 0.03


def test_fewer_than_five_speakers_fit_no_weights() -> None:
    """Although a member of pure noise shows that they should."""
    made = sample(400, (1.0, 2.0), speakers=4)
    noise = log_softmax(np.random.default_rng(1).normal(size=(400, 8)))
    made = Sample(np.stack([noise, made.logs[:, 1]], axis=1), made.truth, made.groups)
    for method in (Method("weighted"), Method("stacking")):
        assert fit(method, made, 0).penalty == linear.PENALTIES[0]
    more = Sample(made.logs, made.truth, np.arange(400) % 5)
    assert fit(Method("weighted", "none"), more, 0).penalty < linear.PENALTIES[0]


def test_stacking_uses_what_one_number_a_member_cannot() -> None:
    """Each member tells only half of the classes apart, and confuses the others in a fixed way."""
    made, new = (_halves(sample(800, (2.0, 2.0), seed)) for seed in (0, 1))
    method = Method("stacking", "none")
    scores = {
        name: balanced_macro_f1(new, fit(chosen, made, 0).apply(new.logs).argmax(axis=1))
        for name, chosen in (("stacking", method), ("log_mean", Method("log_mean", "none")))
    }
    assert scores["stacking"] > scores["log_mean"] + 0.05


def _halves(made: Sample) -> Sample:
    logs = made.logs.copy()
    logs[:, 0, 4:] = logs[:, 0, [5, 6, 7, 4]]
    logs[:, 1, :4] = logs[:, 1, [1, 2, 3, 0]]
    return Sample(logs, made.truth, made.groups)


def test_few_utterances_stay_at_the_log_mean() -> None:
    """What cannot be learned is not."""
    made, new = sample(104, (1.0, 1.2, 1.4), speakers=6), sample(4000, (1.0, 1.2, 1.4), seed=1)
    reference = balanced_macro_f1(new, fit(Method("log_mean"), made, 0).apply(new.logs).argmax(axis=1))
    for method in (Method("weighted"), Method("stacking")):
        fused = balanced_macro_f1(new, fit(method, made, 0).apply(new.logs).argmax(axis=1))
        assert fused > reference - 0.01


@pytest.mark.parametrize("method", FITTED, ids=lambda method: f"{method.rule}-{method.calibration}")
def test_fits_are_deterministic(method: Method) -> None:
    assert fit(method, sample(150), 3) == fit(method, sample(150), 3)


@pytest.mark.parametrize("method", FITTED, ids=lambda method: f"{method.rule}-{method.calibration}")
def test_an_utterance_is_fused_alike_alone_and_with_others(method: Method) -> None:
    made = sample(60)
    fitted = fit(method, made, 0)
    together = fitted.apply(made.logs)
    alone = np.concatenate([fitted.apply(made.logs[[place]]) for place in range(60)])
    assert (alone == together).all()


@pytest.mark.parametrize("method", FITTED, ids=lambda method: f"{method.rule}-{method.calibration}")
def test_a_class_that_development_lacks_and_a_certain_member(method: Method) -> None:
    made = sample(300)
    made = made[made.truth != 3]
    certain = np.log(np.maximum(np.eye(8)[made.logs[:, 1].argmax(axis=1)], 1e-6))
    made = Sample(np.stack([made.logs[:, 0], log_softmax(certain)], axis=1), made.truth, made.groups)
    fused = fit(method, made, 0).apply(made.logs)
    assert np.isfinite(fused).all()
    assert np.exp(fused).sum(axis=1) == pytest.approx(1)


def test_a_class_that_training_lacks_gets_probability_zero() -> None:
    made, classes = sample(40), [letter for letter in CLASSES if letter != "C"]
    members = tables(made, ["a", "b"])
    for table in members.values():
        table["p_C"] = 0.0
    logs = log_probabilities(list(members.values()), classes)
    assert logs.shape == (40, 2, 7)
    predictions = FittedFusion(
        rule="log_mean", members=["a", "b"], classes=classes, fitted=rule.unfitted("log_mean", 2, 7)
    ).fuse(members)
    assert (predictions["p_C"] == 0).all()
    assert predictions.filter(like="p_").sum(axis=1).to_numpy() == pytest.approx(1)
    assert predictions["EmoClass"].isin(classes).all()


def test_folds_keep_speakers_together_and_cover_everything() -> None:
    made = sample(200, speakers=12)
    held_out = [part for _, part in folds(made, 1)]
    assert sorted(np.concatenate(held_out)) == list(range(200))
    for fitted, part in folds(made, 1):
        assert not set(made.groups[fitted]) & set(made.groups[part])
    assert len(list(folds(sample(30, speakers=2), 1))) == 2
    assert list(folds(made[:1], 1)) == []


def test_within_one_error_takes_the_first_choice_that_is_not_clearly_worse() -> None:
    best = np.array([1.0, 1.2, 0.9, 1.1, 1.0])
    noise = np.array([0.1, -0.1, 0.2, -0.2, 0.05])
    assert within_one_error(np.stack([best + 1, best + noise, best])) == 1
    assert within_one_error(np.stack([best + 1 + noise, best + 1, best])) == 2
    agreeing = np.array([[1.0, 1.0], [0.5, 0.5]])  # two speakers show little
    assert within_one_error(agreeing) == 0
    assert within_one_error(np.ones((3, 5))) == 0


def test_cross_fitted_values_come_from_a_fit_without_the_speaker() -> None:
    made = sample(100, speakers=7)

    def fit_groups(part: Sample):
        seen = set(part.groups)
        return lambda logs: np.full((len(logs), 8), float(len(seen)))

    sizes = cross_fitted(fit_groups, made, 0)
    assert (sizes < 7).all()
    assert (sizes > 0).all()


def test_unknown_speakers_are_apart() -> None:
    groups, what = groups_of(pd.Series(["a", None, "b", "a", None]))
    assert what == "speaker"
    assert groups[0] == groups[3]
    assert len(set(groups)) == 4
    for speakers in (["a", "a", "a"], [None, None, None]):
        groups, what = groups_of(pd.Series(speakers, dtype=object))
        assert (what, len(set(groups))) == ("utterance", 3)


@pytest.mark.parametrize("method", FITTED, ids=lambda method: f"{method.rule}-{method.calibration}")
def test_the_json_gives_the_same_predictions(method: Method, tmp_path) -> None:
    made = sample(80)
    fitted = fusion(method, made, ["a", "b"])
    write_json(fitted.model_dump(mode="json", exclude_none=True), tmp_path / "ensemble.json")
    stored = rule.read(tmp_path / "ensemble.json")
    members = tables(made, ["b", "a"])  # by name, not by order
    assert stored.fuse(members).equals(fitted.fuse(members))


@pytest.mark.parametrize(
    "broken",
    [
        {"rule": "median"},
        {"members": ["a"]},
        {"classes": ["A", "C"]},
        {"fitted": {}},
        {"surprise": 1},
        {"classes": "all"},
    ],
)
def test_a_broken_json_is_one_line(tmp_path, broken: dict) -> None:
    stored = fusion(Method("weighted"), sample(40), ["a", "b"]).model_dump(mode="json", exclude_none=True)
    path = tmp_path / "ensemble.json"
    path.write_text(json.dumps(stored | broken))
    with pytest.raises(UserError, match=r"ensemble\.json: .+") as raised:
        rule.read(path)
    assert len(str(raised.value).splitlines()) == 1
