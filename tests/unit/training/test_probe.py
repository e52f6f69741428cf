"""Probes: parity with scikit-learn, the choice of the regularisation, the model folder, predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from abhinaya.config.head import Head
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.modeling import probe as modeling
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.training import probe
from support.cached import cached, trained
from support.speech_corpus import run, weights
from unit.modeling.test_classifier import Given
from unit.training.probes import system

KINDS = ("logistic", "svm")


def vectors_and_labels(classes: int = 3, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters of standardised vectors, 12 of each class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 12)
    vectors = rng.normal(size=(len(labels), width)) + 1.5 * np.eye(classes, width)[labels]
    return (vectors - vectors.mean(0)) / vectors.std(0), labels


def head(kind: str) -> Head:
    return Head(kind=kind, pooling="mean", standardise=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_probabilities_are_scikit_learns(classes: int) -> None:
    vectors, labels = vectors_and_labels(classes)
    estimator = probe.logistic(0.1).fit(vectors, labels)
    counts = [12] * classes + [0] * (8 - classes)
    classifier = modeling.LogisticProbe(Given(4), head("logistic"), counts)
    probe.store_logistic(classifier, estimator)
    logits = classifier.classify(torch.from_numpy(vectors))[:, :classes]
    np.testing.assert_allclose(logits.softmax(-1), estimator.predict_proba(vectors), atol=1e-12)


def test_margins_are_those_of_scikit_learns_machines() -> None:
    vectors, labels = vectors_and_labels()
    machine = SVC(C=10.0, gamma=0.25, class_weight="balanced")
    expected = OneVsRestClassifier(machine).fit(vectors, labels).decision_function(vectors)
    classifier = modeling.SvmProbe(Given(4), head("svm"), [12] * 3 + [0] * 5)
    probe.store_machines(classifier, probe.Machines(10.0).fit(vectors, labels), vectors, factor=2.0)
    np.testing.assert_allclose(classifier.margins(torch.from_numpy(vectors))[:, :3], expected, atol=1e-10)
    np.testing.assert_allclose(classifier.classify(torch.from_numpy(vectors))[:, :3], 2 * expected, atol=1e-10)


def test_the_slope_maximises_the_likelihood_of_held_out_labels() -> None:
    vectors, labels = vectors_and_labels()
    splits = probe.folds(labels, None)
    found = probe.slope(1.0, vectors, labels, splits)
    assert 0.1 < found < 10
    shuffled = np.random.default_rng(1).permutation(labels)
    assert probe.slope(1.0, vectors, shuffled, probe.folds(shuffled, None)) < found  # no information: near 0


def test_no_speaker_is_on_both_sides_of_a_fold() -> None:
    _, labels = vectors_and_labels()
    speakers = np.arange(len(labels)) % 6
    splits = probe.folds(labels, speakers)
    assert len(splits) == 5
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(labels)))
    for train, held_out in splits:
        assert not set(speakers[train]) & set(speakers[held_out])


@pytest.mark.parametrize(
    ("labels", "speakers"), [([0, 1, 2], None), ([0, 0, 1, 1], [1, 1, 2, 2]), ([0, 0, 1], [1] * 3)]
)
def test_a_split_that_is_too_small_has_no_folds(labels: list[int], speakers: list[int] | None) -> None:
    assert probe.folds(np.array(labels), speakers and np.array(speakers)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_cross_validation_is_that_of_scikit_learn(kind: str) -> None:
    vectors, labels = vectors_and_labels()
    splits = probe.folds(labels, np.arange(len(labels)) % 4)
    estimator = {
        "logistic": LogisticRegression(C=0.1, class_weight="balanced"),
        "svm": OneVsRestClassifier(SVC(C=0.1, gamma=0.25, class_weight="balanced")),
    }[kind]
    predicted = cross_val_predict(make_pipeline(StandardScaler(), estimator), vectors, labels, cv=splits)
    table = probe.cross_validate(probe.ESTIMATORS[kind], (0.1,), vectors, labels, splits)
    assert table == {0.1: pytest.approx(f1_score(labels, predicted, average="macro"))}


@pytest.mark.parametrize(
    ("speakers", "known"), [(["a", "b", "a"], True), (["a", None, "b"], False), (["a", "a", "a"], False)]
)
def test_speakers_are_used_if_all_are_known_and_several(speakers: list, known: bool) -> None:
    assert (probe.speakers_of(pd.DataFrame({"SpkrID": speakers})) is not None) == known
    assert probe.speakers_of(pd.DataFrame({"path": speakers})) is None


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(system(request.param), manifest, tmp_path_factory.mktemp(request.param))


def test_the_model_folder_has_arrays_and_no_pickle(fitted: Path) -> None:
    assert {path.name for path in fitted.iterdir()} == checkpoint.FILES
    assert not (fitted.parent / "checkpoints").exists()
    measured = files.read_json(fitted / "metrics.json")
    assert measured["epochs"] == [] and measured["C"] in probe.REGULARISATION[measured["kind"]]
    assert 0 <= measured["validation"]["macro_f1"] <= 1
    assert {"standardisation.mean", "weight", "bias"} <= weights(fitted).keys()


def test_predictions_are_those_of_the_stored_arrays(fitted: Path, manifest: pd.DataFrame) -> None:
    predicted = predict.predict(fitted, manifest, cpus=1)
    assert sorted(predicted["Split"].unique()) == ["test", "validation"]
    probabilities = predicted[list(PROBABILITIES)].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (predicted[["p_C", "p_D", "p_F", "p_S", "p_U"]] == 0).all(axis=None)  # not in the training split
    alone = predict.predict(fitted, manifest[manifest["FileName"] == "test_01.wav"], cpus=1)
    together = predicted[predicted["FileName"] == "test_01.wav"]
    np.testing.assert_allclose(alone[list(PROBABILITIES)], together[list(PROBABILITIES)], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_features_give_the_same_arrays(kind: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    settings = system(kind)
    without = run(settings, manifest, tmp_path / "without")
    with_cache = trained(settings, manifest, tmp_path / "with", cached(settings, manifest, tmp_path))
    for name, value in weights(without).items():
        np.testing.assert_allclose(weights(with_cache)[name], value, atol=1e-3, err_msg=name)


def test_a_probe_is_the_same_in_every_run(manifest: pd.DataFrame, tmp_path: Path) -> None:
    one, other = (run(system("logistic"), manifest, tmp_path / name) for name in ("one", "other"))
    assert (one / checkpoint.WEIGHTS).read_bytes() == (other / checkpoint.WEIGHTS).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_emotion_is_reported(kind: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    manifest = manifest.assign(EmoClass=manifest["EmoClass"].where(manifest["split"] != "train", "A"))
    with pytest.raises(UserError, match="two emotions"):
        run(system(kind), manifest, tmp_path)


def test_probabilities_of_a_probe_are_a_softmax_of_its_logits(manifest: pd.DataFrame, tmp_path: Path) -> None:
    model = run(system("svm"), manifest, tmp_path)
    classifier, *_ = checkpoint.load_model(model, torch.device("cpu"))
    logits = classifier.classify(torch.zeros(1, classifier.width)).numpy()
    present = [CLASSES.index(letter) for letter in "AHN"]
    assert softmax(logits[:, present]).sum() == pytest.approx(1)
    assert (logits[:, [c for c in range(8) if c not in present]] == 0).all()
