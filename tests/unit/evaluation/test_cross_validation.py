"""Cross-validation: parity with scikit-learn, mean, spread, pooled scores."""

import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from abhinaya.data import schemas
from abhinaya.evaluation import cross_validation
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "cross_validate.py"


def fold(number: int, size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A manifest and random predictions; two validation rows, the others for the test, one without a label."""
    generator = np.random.default_rng(number)
    names = [f"{number}_{index:03}.wav" for index in range(size)]
    truth = generator.choice(list("AHNS"), size).astype(object)
    truth[-1] = None
    splits = ["validation"] * 2 + ["test"] * (size - 2)
    manifest = pd.DataFrame({"FileName": names, "path": names, "split": splits, "EmoClass": truth, "duration": 1.0})
    shares = dict.fromkeys(schemas.PROBABILITIES, 1 / len(CLASSES))
    letters = generator.choice(list("AHNSU"), size)
    return manifest, pd.DataFrame({"FileName": names, "Split": splits, "EmoClass": letters, **shares})


@pytest.fixture(scope="module")
def folds() -> dict[int, tuple[pd.DataFrame, pd.DataFrame]]:
    return {1: fold(1, 40), 2: fold(2, 60)}


def test_scores_are_those_of_scikit_learn(folds) -> None:
    manifests = {number: manifest for number, (manifest, _) in folds.items()}
    pairs = cross_validation.pooled(manifests, {("s1", number): preds for number, (_, preds) in folds.items()})
    assert len(pairs) == 37 + 57
    table = cross_validation.by_fold(pairs)
    summary = cross_validation.summarise(pairs, table).iloc[0]
    expected = {
        "UA": balanced_accuracy_score,
        "WA": accuracy_score,
        "micro_F1": lambda truth, predicted: f1_score(truth, predicted, average="micro"),
        "macro_F1": lambda truth, predicted: f1_score(truth, predicted, average="macro"),
    }
    for name, score in expected.items():
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # U is predicted, but never true
            values = [score(rows["truth"], rows["predicted"]) for _, rows in pairs.groupby("fold")]
            whole = score(pairs["truth"], pairs["predicted"])
        assert table[name].tolist() == pytest.approx(values)
        assert summary[f"{name}_mean"] == pytest.approx(statistics.mean(values))
        assert summary[f"{name}_sd"] == pytest.approx(statistics.stdev(values))
        assert summary[f"{name}_pooled"] == pytest.approx(whole)


def test_fold_without_labels_is_reported(folds) -> None:
    manifest, preds = folds[1]
    with pytest.raises(UserError, match="fold 1"):
        cross_validation.pooled({1: manifest.assign(EmoClass=None)}, {("s1", 1): preds})


@pytest.mark.slow
def test_script_writes_all_tables(folds, tmp_path: Path) -> None:
    for number, (manifest, preds) in folds.items():
        schemas.write_manifest(manifest, tmp_path / f"{number}.parquet")
        schemas.write_predictions(preds, tmp_path / f"{number}.csv")
    command = [sys.executable, str(SCRIPT), "--manifests", "1.parquet", "2.parquet", "--output-dir", "cv"]
    done = subprocess.run([*command, "--preds", "s1", "1.csv", "2.csv"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "cv").iterdir()} == {
        "scores.csv",
        "scores.md",
        "folds.csv",
        "predictions.csv",
    }
