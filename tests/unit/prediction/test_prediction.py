"""Predictions of a trained model for a corpus, and invalid models."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

import predict
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict as prediction
from abhinaya.prediction import systems
from abhinaya.runtime import errors, files
from abhinaya.runtime.errors import UserError
from support.speech_corpus import WAVLM, make_manifest, run, system


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return make_manifest(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def model(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(system(epochs=1), manifest, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def predictions(model: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    return prediction.predict(model, manifest, cpus=1)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    one, other = (table.sort_values(KEY, ignore_index=True) for table in (one, other))
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-6)


def changed(model: Path, target: Path, **keys: object) -> Path:
    """A copy of the model folder `model` with other values of `keys` in its configuration."""
    shutil.copytree(model, target)
    files.write_json(files.read_json(model / "config.json") | keys, target / "config.json")
    return target


def test_every_validation_and_test_utterance_has_a_row(predictions: pd.DataFrame, manifest: pd.DataFrame) -> None:
    expected = manifest[manifest["split"] != "train"].reset_index(drop=True)
    assert tuple(predictions.columns) == schemas.PREDICTIONS
    assert predictions[KEY].tolist() == expected[KEY].tolist()
    assert predictions["Split"].tolist() == expected["split"].tolist()


def test_probabilities_sum_to_one_and_the_label_is_the_most_probable(predictions: pd.DataFrame) -> None:
    values = predictions[list(PROBABILITIES)].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    assert predictions["EmoClass"].tolist() == [CLASSES[index] for index in values.argmax(axis=1)]
    assert len(np.unique(values[:, 0])) == len(values)


def test_a_class_without_training_data_has_probability_zero(predictions: pd.DataFrame) -> None:
    assert (predictions[["p_C", "p_D", "p_F", "p_S", "p_U"]] == 0).all(axis=None)
    assert (predictions[["p_A", "p_H", "p_N"]] > 0).all(axis=None)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_predictions_do_not_depend_on_the_batch_size(
    batch_size: int, predictions: pd.DataFrame, model: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system(epochs=1, eval_batch_size=batch_size).model_dump(mode="json")
    assert_same(
        prediction.predict(changed(model, tmp_path / "model", settings=settings), manifest, cpus=1), predictions
    )


def test_predictions_do_not_depend_on_other_rows_or_their_order(
    predictions: pd.DataFrame, model: Path, manifest: pd.DataFrame
) -> None:
    assert_same(prediction.predict(model, manifest[::-1], cpus=1), predictions)
    few = manifest[manifest["split"] == "test"].head(3)
    assert_same(prediction.predict(model, few, cpus=1), predictions[predictions[KEY].isin(few[KEY])])


def test_labels_and_further_columns_are_not_used(
    predictions: pd.DataFrame, model: Path, manifest: pd.DataFrame
) -> None:
    assert_same(prediction.predict(model, manifest.assign(EmoClass=None, votes_A=3), cpus=1), predictions)


def test_predictions_do_not_depend_on_the_random_state(
    predictions: pd.DataFrame, model: Path, manifest: pd.DataFrame
) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    pd.testing.assert_frame_equal(prediction.predict(model, manifest, cpus=1), predictions)


def test_the_script_writes_a_sorted_table(
    predictions: pd.DataFrame,
    model: Path,
    manifest: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schemas.write_manifest(manifest, tmp_path / "manifest.parquet")
    output = tmp_path / "out" / "preds.csv"
    options = ["--model", model, "--manifest", tmp_path / "manifest.parquet", "--output", output, "--cpus", 1]
    monkeypatch.setattr(sys, "argv", [str(option) for option in ("predict.py", *options)])
    errors.run(predict.main)
    written = schemas.read_predictions(output)
    assert written[KEY].tolist() == sorted(predictions[KEY])
    assert_same(written, predictions)


# --- user errors


def error_of(model: Path, manifest: pd.DataFrame, gpus: int = 0) -> str:
    """The message of the `UserError` of a prediction."""
    with pytest.raises(UserError) as caught:
        prediction.predict(model, manifest, cpus=1, gpus=gpus)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_corpus_without_validation_and_test_is_reported(model: Path, manifest: pd.DataFrame) -> None:
    assert "no validation or test utterance" in error_of(model, manifest[manifest["split"] == "train"])


def test_cached_features_for_a_trained_encoder_are_reported(model: Path, manifest: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"^--features: .*`encoder.freeze: all`"):
        prediction.predict(model, manifest, cpus=1, features=[Path("nowhere.parquet")])


def test_missing_gpu_is_reported(model: Path, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "resources.gpu: 1 requested, 0 visible" in error_of(model, manifest, gpus=1)


def test_missing_model_is_reported(tmp_path: Path, manifest: pd.DataFrame) -> None:
    assert f"{tmp_path / 'nowhere' / 'config.json'}: " in error_of(tmp_path / "nowhere", manifest)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "not the configuration of a trained model"),
        ('{"settings": {}, "seed": 1, "class_counts": [1, 2]}', "not the configuration of a trained model"),
        (
            json.dumps({"settings": {"family": "speech"}, "seed": 1, "class_counts": dict.fromkeys(CLASSES, 1)}),
            "missing",
        ),
    ],
)
def test_damaged_configuration_is_reported(
    content: str, words: str, model: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(content)
    with pytest.raises(UserError) as caught:
        prediction.predict(tmp_path / "model", manifest, cpus=1)
    assert str(tmp_path / "model" / "config.json") in str(caught.value)
    assert words in str(caught.value)


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def damage_absent(path: Path) -> None:
    path.unlink()


def damage_foreign(path: Path) -> None:
    save_file({"some.other.weight": torch.zeros(3)}, path)


def damage_shape(path: Path) -> None:
    save_file(load_file(path) | {"fc.bias": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    "damage", [damage_truncated, damage_empty, damage_text, damage_absent, damage_foreign, damage_shape]
)
def test_damaged_weights_are_reported(damage, model: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    damage(tmp_path / "model" / checkpoint.WEIGHTS)
    assert str(tmp_path / "model" / checkpoint.WEIGHTS) in error_of(tmp_path / "model", manifest)


def test_weights_of_another_architecture_are_reported(model: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    smaller = system(head={"hidden": 8}).model_dump(mode="json")
    assert "weights do not fit the model" in error_of(changed(model, tmp_path / "model", settings=smaller), manifest)


def test_missing_audio_is_reported(model: Path, manifest: pd.DataFrame) -> None:
    assert "nowhere.wav" in error_of(model, manifest.assign(path="nowhere.wav"))


def test_a_published_model_is_loaded_at_its_recorded_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache has two commits of a model; predict loads the one that was used in training."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub/models--somebody--tiny-wavlm"
    for seed, commit in enumerate(("a" * 40, "b" * 40)):
        torch.manual_seed(seed)
        folder = repository / "snapshots" / commit
        WavLMModel(WavLMConfig(**WAVLM)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    manifest = make_manifest(tmp_path)
    settings = system(encoder={"model": "somebody/tiny-wavlm"}, epochs=1)
    folder = run(settings, manifest, tmp_path / "run")
    assert files.read_json(folder / "config.json")["settings"]["encoder"]["revision"] == "a" * 40
    before = prediction.predict(folder, manifest)
    (repository / "refs/main").write_text("b" * 40)  # as if the authors published new weights
    pd.testing.assert_frame_equal(prediction.predict(folder, manifest), before)


# --- no numbers


def test_nan_weights_are_reported(model: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    weights = load_file(model / checkpoint.WEIGHTS)
    name = min(weights)
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, tmp_path / "model" / checkpoint.WEIGHTS)
    with pytest.raises(UserError, match=f"{checkpoint.WEIGHTS}: {name}"):
        prediction.predict(tmp_path / "model", manifest, cpus=1)


@pytest.mark.parametrize("counts", [dict.fromkeys(CLASSES, 0), dict.fromkeys(CLASSES, 1) | {"A": "many"}])
def test_class_counts_that_are_no_counts_are_reported(model: Path, tmp_path: Path, counts: dict) -> None:
    folder = changed(model, tmp_path / "model", class_counts=counts)
    with pytest.raises(UserError, match=r"config\.json: class_counts"):
        checkpoint.read_config(folder)


def test_outputs_that_are_not_finite_are_reported_with_the_utterance(
    model: Path, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.full((len(manifest), len(CLASSES)), 1 / len(CLASSES), dtype=torch.float64)
    rows = manifest[manifest["split"].isin(("validation", "test"))]
    nothing[1] = torch.nan
    monkeypatch.setattr(prediction, "_probabilities", lambda *_: nothing[: len(rows)])
    with pytest.raises(UserError, match=rows[KEY].iloc[1]):
        prediction.predict(model, manifest, cpus=1)


def test_predictions_without_numbers_are_not_written(predictions: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=predictions[KEY].iloc[0]):
        schemas.write_predictions(predictions.assign(p_A=np.nan), tmp_path / "preds.csv")
    assert not any(tmp_path.iterdir())


def test_an_ensemble_given_as_a_model_is_named(tmp_path: Path) -> None:
    files.write_json({"members": ["s1"], "tie_break": "s1"}, tmp_path / "ensemble.json")
    with pytest.raises(UserError, match=r"predict_ensemble\.py --ensemble"):
        systems.read_model(tmp_path)
