"""Calibration and prior correction of one member: closed forms, simulation, edge cases."""

import numpy as np
import pandas as pd
import pytest

from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation.fusion import calibration, prior
from abhinaya.evaluation.fusion.sample import FLOOR, Sample, balanced_macro_f1, log_probabilities, log_softmax
from abhinaya.evaluation.metrics import score_confusion
from abhinaya.labels import CLASSES
from support.fusion_parts import sample

SKEWED = np.array([0.12, 0.06, 0.05, 0.05, 0.25, 0.32, 0.1, 0.05])


def one_hot(labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(np.eye(len(CLASSES))[labels], columns=list(PROBABILITIES))


def test_the_temperature_of_a_sharpened_member_is_its_sharpness() -> None:
    made = sample(20000, (1.5,))
    logs = log_softmax(2.5 * made.logs[:, 0])
    assert calibration.fit_temperature(logs, made.truth, made.weights) == pytest.approx(2.5, rel=0.03)


def test_at_the_temperature_the_mean_score_is_that_of_the_true_class() -> None:
    made = sample(300, (1.2,), shares=SKEWED)
    logs = made.logs[:, 0]
    scaled = np.exp(log_softmax(logs / calibration.fit_temperature(logs, made.truth, made.weights)))
    expected = made.weights @ (scaled * logs).sum(axis=1)
    assert expected == pytest.approx(made.weights @ logs[np.arange(300), made.truth], abs=1e-5)


def test_a_temperature_leaves_the_labels() -> None:
    made = sample(500, (0.8,))
    logs = log_softmax(4 * made.logs[:, 0])
    temperature = calibration.fit_temperature(logs, made.truth, made.weights)
    assert temperature > 1
    assert (log_softmax(logs / temperature).argmax(axis=1) == logs.argmax(axis=1)).all()


def test_a_member_that_is_always_certain_gets_its_accuracy_as_confidence() -> None:
    """T1's words: probability 1 for one class, 0 for the others."""
    truth = np.repeat(np.arange(8), 50)
    guess = np.where(np.arange(400) % 5 < 3, truth, (truth + 1) % 8)  # 60 % right in every class
    logs = log_probabilities([one_hot(guess)], CLASSES)
    assert np.isfinite(logs).all()
    made = Sample(logs, truth, np.arange(400))
    temperature = calibration.fit_temperature(logs[:, 0], truth, made.weights)
    confidence = np.exp(log_softmax(logs[:, 0] / temperature))[np.arange(400), guess]
    assert confidence == pytest.approx(np.full(400, 0.6), abs=1e-4)


def test_a_member_at_chance_stays_finite() -> None:
    made = sample(200, (1.0,))
    logs = -10 * made.logs[:, 0] - np.log(np.exp(-10 * made.logs[:, 0]).sum(axis=1, keepdims=True))
    assert calibration.fit_temperature(logs, made.truth, made.weights) == pytest.approx(
        calibration.TEMPERATURES[1], 0.1
    )


def test_vector_scaling_undoes_the_scale_and_bias_of_each_class() -> None:
    made = sample(8000, (1.5,))
    true_bias = np.linspace(-1, 1, 8)
    logs = log_softmax(2 * made.logs[:, 0] + true_bias)
    scale, bias = calibration.fit_vector_scaling(logs, made.truth, made.weights, made.effective_size)
    found = log_softmax(scale * logs + bias)
    gap = (np.exp(found) * (found - made.logs[:, 0])).sum(axis=1).mean()  # Kullback-Leibler divergence
    assert 0 <= gap < 0.005
    assert prior.effective_prior(found, made.weights) == pytest.approx(np.full(8, 1 / 8), abs=2e-3)


def test_vector_scaling_leaves_a_class_without_utterances_at_the_temperature() -> None:
    made = sample(400, (1.5,))
    made = made[made.truth != 3]
    logs = made.logs[:, 0]
    scale, bias = calibration.fit_vector_scaling(logs, made.truth, made.weights, made.effective_size)
    assert scale[3] == pytest.approx(1 / calibration.fit_temperature(logs, made.truth, made.weights))
    assert bias[3] == 0
    assert (bias[np.arange(8) != 3] != 0).all()


def test_few_utterances_hardly_move_the_biases() -> None:
    few, many = (sample(n, (1.0,), shares=SKEWED) for n in (60, 6000))
    moved = [
        abs(calibration.fit_vector_scaling(made.logs[:, 0] + np.log(SKEWED), made.truth, made.weights, size)[1]).max()
        for made, size in ((few, few.effective_size), (many, many.effective_size))
    ]
    assert moved[0] < moved[1]


def test_weights_make_classes_equal_and_the_effective_size_is_that_of_a_balanced_sample() -> None:
    balanced = Sample(np.zeros((16, 1, 8)), np.repeat(np.arange(8), 2), np.arange(16))
    assert balanced.effective_size == pytest.approx(16)
    skewed = Sample(np.zeros((10, 1, 8)), np.array([0] * 9 + [1]), np.arange(10))
    assert skewed.weights[:9].sum() == pytest.approx(skewed.weights[9])
    assert skewed.effective_size == pytest.approx(1 / (9 / 18**2 + 1 / 4))


def test_a_prior_correction_finds_the_prior_that_was_added() -> None:
    made = sample(6000, (1.5,), shares=SKEWED)
    logs = log_softmax(made.logs[:, 0] + np.log(SKEWED))
    own = prior.effective_prior(logs, made.weights)
    assert own[5] > 1 / 8 > own[2]  # drawn to N, away from D
    tau = prior.fit_tau(made, logs, 0)
    assert tau > 0.5
    after, before = (balanced_macro_f1(made, each.argmax(axis=1)) for each in (prior.corrected(logs, own, tau), logs))
    assert after > before + 0.01
    assert prior.effective_prior(prior.corrected(logs, own, tau), made.weights) == pytest.approx(1 / 8, abs=0.08)


def test_no_correction_without_a_gain_on_other_speakers() -> None:
    made = sample(400, (1.5,))
    certain = Sample(np.log(np.maximum(np.eye(8)[made.truth], FLOOR))[:, None], made.truth, made.groups)
    assert prior.fit_tau(certain, certain.logs[:, 0], 0) == 0
    alone = Sample(made.logs, made.truth, np.zeros(400, int))  # no other speaker
    assert prior.fit_tau(alone, alone.logs[:, 0] + np.log(SKEWED), 0) == 0


def test_balanced_macro_f1_is_that_of_a_sample_with_repeated_utterances() -> None:
    truth, guess = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 1, 0])
    made = Sample(np.zeros((6, 1, 3)), truth, np.arange(6))
    repeated = np.array([[2, 1, 1], [2, 2, 0], [0, 0, 0]])  # the second class twice
    assert balanced_macro_f1(made, guess) == pytest.approx(float(score_confusion(repeated)["macro_f1"]))
