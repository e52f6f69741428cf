import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

import score as score_script
from abhinaya.data.schemas import PROBABILITIES, write_manifest, write_predictions
from abhinaya.evaluation import metrics
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json

letters = st.sampled_from(CLASSES)
pairs = st.lists(st.tuples(letters, letters), min_size=1, max_size=60)


def manifest(labels: list[str | None], split: str = "test") -> pd.DataFrame:
    names = [f"{split}_{index:04d}.wav" for index in range(len(labels))]
    return pd.DataFrame({"FileName": names, "path": "x.wav", "split": split, "EmoClass": labels, "duration": 1.0})


def predictions(labels: list[str], split: str = "test") -> pd.DataFrame:
    table = pd.DataFrame([[1.0 * (letter == label) for letter in CLASSES] for label in labels], columns=PROBABILITIES)
    names = [f"{split}_{index:04d}.wav" for index in range(len(labels))]
    return table.assign(FileName=names, Split=split, EmoClass=labels)


def skewed(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of a plausible system on an imbalanced split."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(CLASSES, n, p=[0.12, 0.06, 0.05, 0.05, 0.25, 0.32, 0.1, 0.05])
    return truth, np.where(rng.random(n) < 0.45, truth, rng.choice(CLASSES, n))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@given(pairs)
def test_scores_equal_scikit_learn(examples):
    truth, predicted = map(list, zip(*examples, strict=True))
    scores = metrics.score(manifest(truth), predictions(predicted), resamples=2)["test"]
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert scores["accuracy"] == pytest.approx(np.mean(np.array(truth) == np.array(predicted)))
    assert scores["uar"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    measured = precision_recall_fscore_support(truth, predicted, labels=CLASSES, zero_division=np.nan)
    for name, expected in zip(("precision", "recall", "f1"), measured, strict=False):
        values = list(scores[f"per_class_{name}"].values())
        np.testing.assert_allclose(values, expected, err_msg=name)
    assert list(scores["support"].values()) == measured[3].tolist()
    assert scores["confusion"] == confusion_matrix(truth, predicted, labels=CLASSES).tolist()
    assert scores["n"] == len(examples)


def test_class_intervals_agree_with_resampled_utterances():
    """A class without correct predictions has [0, 0], one that does not occur has no interval."""
    truth, predicted = list("AAAANNNN"), list("AAANNNNC")
    found = metrics.score(manifest(truth), predictions(predicted), resamples=600)["test"]["per_class_f1_interval"]
    assert found["C"] == [0, 0]
    assert {letter for letter, interval in found.items() if interval is None} == {*CLASSES} - {*"ACN"}
    rng = np.random.default_rng(1)
    resampled = [np.concatenate([rng.integers(0, 4, 4), rng.integers(4, 8, 4)]) for _ in range(600)]
    rows = np.array(list(zip(truth, predicted, strict=True)))
    f1_of_resamples = [f1_score(*rows[chosen].T, labels=["A", "N"], average=None) for chosen in resampled]
    expected = np.percentile(f1_of_resamples, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose([found["A"], found["N"]], expected, atol=0.05)


@given(pairs, st.integers(0, 2**32))
def test_intervals_stay_in_range_and_resampling_keeps_the_true_classes(examples, seed):
    confusion = confusion_matrix(*zip(*examples, strict=True), labels=CLASSES)
    stack = metrics.resample(confusion, 20, np.random.default_rng(seed))
    assert (stack.sum(axis=2) == confusion.sum(axis=1)).all()
    assert (stack[:, confusion == 0] == 0).all()
    values = metrics.score_confusion(stack, confusion.sum(axis=0) + confusion.sum(axis=1) > 0)["macro_f1"]
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()


def test_bootstrap_agrees_with_resampling_utterances():
    truth, predicted = skewed(400)
    scores = metrics.score(manifest(list(truth)), predictions(list(predicted)), resamples=4000)["test"]
    rng = np.random.default_rng(99)
    strata = [np.flatnonzero(truth == letter) for letter in CLASSES]
    naive = []
    for _ in range(600):
        rows = np.concatenate([rng.choice(stratum, len(stratum)) for stratum in strata])
        confusion = np.zeros((8, 8), int)
        np.add.at(confusion, (np.searchsorted(CLASSES, truth[rows]), np.searchsorted(CLASSES, predicted[rows])), 1)
        f1 = 2 * confusion.diagonal() / (confusion.sum(axis=0) + confusion.sum(axis=1))
        recall = confusion.diagonal() / confusion.sum(axis=1)
        naive.append((f1.mean(), recall.mean(), confusion.trace() / len(rows)))
    expected = np.percentile(naive, [2.5, 97.5], axis=0).T
    for name, interval in zip(("macro_f1", "uar", "accuracy"), expected, strict=True):
        width = interval[1] - interval[0]
        np.testing.assert_allclose(scores[f"{name}_interval"], interval, atol=0.12 * width, err_msg=name)
        assert scores[f"{name}_interval"][0] < scores[name] < scores[f"{name}_interval"][1]


def test_intervals_depend_on_the_seed():
    truth, predicted = (list(values) for values in skewed(200))
    table, guesses = manifest(truth), predictions(predicted)
    one, again, other = (metrics.score(table, guesses, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one["test"]["macro_f1"] == other["test"]["macro_f1"]
    assert one["test"]["macro_f1_interval"] != other["test"]["macro_f1_interval"]


def test_intervals_of_splits_are_independent():
    truth, predicted = (list(values) for values in skewed(200))
    both = metrics.score(
        pd.concat([manifest(truth), manifest(truth, "validation")]),
        pd.concat([predictions(predicted), predictions(predicted, "validation")]),
    )
    assert both["test"] == metrics.score(manifest(truth), predictions(predicted))["test"]
    assert both["validation"]["macro_f1_interval"] != both["test"]["macro_f1_interval"]


def test_split_without_labels_is_null_and_counted():
    table = pd.concat([manifest(["A", "C"], "validation"), manifest([None, None, None])])
    scores = metrics.score(table, pd.concat([predictions(["A", "A"], "validation"), predictions(["A", "C", "D"])]))
    assert scores["test"] is None
    assert scores["unlabelled"] == {"validation": 0, "test": 3}
    assert scores["validation"]["accuracy"] == 0.5


def test_rows_without_one_of_the_eight_labels_are_not_scored():
    scores = metrics.score(manifest(["A", "O", "X", None, "C"]), predictions(["A", "A", "A", "A", "C"]))
    assert scores["test"]["n"] == 2
    assert scores["test"]["macro_f1"] == 1
    assert scores["not_scored"]["test"] == 2
    assert scores["unlabelled"]["test"] == 1


def test_development_rows_may_be_predicted_and_are_not_scored():
    table = pd.concat([manifest(["A", "H"]), manifest(["A"], "development")], ignore_index=True)
    guesses = pd.concat([predictions(["A", "H"]), predictions(["H"], "development")], ignore_index=True)
    with_them, without = metrics.score(table, guesses, resamples=2), metrics.score(table[:2], guesses[:2], resamples=2)
    assert str(with_them) == str(without)  # NaN differs from itself


def test_training_rows_need_no_prediction():
    table = pd.concat([manifest(["A"]), manifest(["C"], "train")])
    assert metrics.score(table, predictions(["A"]))["test"]["n"] == 1


@pytest.mark.parametrize(
    ("table", "guesses", "message"),
    [
        (manifest(["A"]), predictions(["A", "C"]), r"1 utterance \(test_0001\.wav\)"),
        (
            manifest(["A"] * 6),
            predictions(["A"]),
            r"5 utterances \(.*0003\.wav, …\)",
        ),
        (manifest(["A"], "train"), predictions(["A"], "train"), "neither validation nor test"),
        (manifest(["A"]), predictions(["A"]).assign(Split="validation"), "Split"),
    ],
)
def test_predictions_and_manifest_must_match(table, guesses, message):
    with pytest.raises(UserError, match=f"p.csv: .*{message}"):
        metrics.score(table, guesses, source="p.csv")


def test_zero_resamples_are_a_user_error():
    with pytest.raises(UserError, match="bootstrap: 0"):
        metrics.score(manifest(["A"]), predictions(["A"]), resamples=0)


def test_negative_seed_is_a_user_error():
    with pytest.raises(UserError, match=r"seed: -1 .* 0 or more"):
        metrics.score(manifest(["A"]), predictions(["A"]), seed=-1)


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--bootstrap", "0"), ("--bootstrap", "-5")])
def test_script_reports_invalid_arguments_and_writes_nothing(tmp_path, monkeypatch, option, value):
    write_manifest(manifest(["A"]), tmp_path / "manifest.parquet")
    write_predictions(predictions(["A"]), tmp_path / "preds.csv")
    arguments = ["--manifest", "manifest.parquet", "--preds", "preds.csv", "--output", "scores.json", option, value]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["score.py", *arguments])
    with pytest.raises(UserError, match=f"{option.strip('-')}: {value} "):
        score_script.main()
    assert not (tmp_path / "scores.json").exists()


def test_script_does_not_replace_its_input(tmp_path, monkeypatch):
    write_manifest(manifest(["A"]), tmp_path / "manifest.parquet")
    write_predictions(predictions(["A"]), tmp_path / "preds.csv")
    before = (tmp_path / "preds.csv").read_bytes()
    monkeypatch.chdir(tmp_path)
    arguments = ["--manifest", "manifest.parquet", "--preds", "preds.csv", "--output", "./preds.csv"]
    monkeypatch.setattr(sys, "argv", ["score.py", *arguments])
    with pytest.raises(UserError, match=r"preds\.csv: .*input"):
        score_script.main()
    assert (tmp_path / "preds.csv").read_bytes() == before


def test_script_writes_null_for_undefined_scores(tmp_path, monkeypatch, capsys):
    files = {name: tmp_path / name for name in ("manifest.parquet", "preds.csv", "scores.json")}
    write_manifest(manifest(["A", "A", "C"]), files["manifest.parquet"])
    write_predictions(predictions(["A", "C", "C"]), files["preds.csv"])
    arguments = zip(("--manifest", "--preds", "--output"), map(str, files.values()), strict=True)
    monkeypatch.setattr(sys, "argv", ["score.py", *[part for pair in arguments for part in pair], "--bootstrap", "50"])
    score_script.main()
    scores = read_json(files["scores.json"])
    assert scores["validation"] is None
    assert scores["test"]["per_class_f1"]["A"] == pytest.approx(2 / 3)
    assert scores["test"]["per_class_f1"]["U"] is None
    assert scores["test"]["support"] == {**dict.fromkeys(CLASSES, 0), "A": 2, "C": 1}
    assert scores["bootstrap"]["resamples"] == 50
    assert "NaN" not in json.dumps(scores)
    printed = capsys.readouterr().out
    assert "validation: no labels" in printed and "test: macro-F1 0.6667" in printed
