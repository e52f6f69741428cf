"""Training: learning, reproducibility, the model folder, and the division of a step."""

import itertools
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import PartialState
from scipy.special import softmax
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

import train
from abhinaya.config import parse
from abhinaya.config.system import SpeechSystem
from abhinaya.data import schemas
from abhinaya.data.dataset import LengthGrouped, Utterances
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict
from abhinaya.runtime import errors, files
from abhinaya.runtime.errors import UserError
from abhinaya.training import loop, metrics, resume
from abhinaya.training import train as training
from abhinaya.training.loop import Loop
from support import flushes, running
from support.cached import cached, trained
from support.messages import assert_names
from support.speech_corpus import NOT_RANDOM, WHISPER, Stop, as_json, assert_same, command, epochs, run, system, weights

SETTINGS = system()
STEPS = 3  # per epoch: 12 utterances, 4 per step


# --- a complete run


def test_the_loss_decreases(finished: Path) -> None:
    losses = [epoch["loss"] for epoch in epochs(finished)]
    assert losses[2] < losses[0]


def test_the_same_run_has_the_same_bytes(finished: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    again = run(SETTINGS, manifest, tmp_path)
    assert_same(again, finished)


def test_metrics_of_the_run(finished: Path) -> None:
    metrics = files.read_json(finished / "metrics.json")
    assert [epoch["epoch"] for epoch in metrics["epochs"]] == [1, 2, 3]
    scores = [epoch["macro_f1"] for epoch in metrics["epochs"]]
    assert metrics["best_epoch"] == 1 + scores.index(max(scores))
    assert metrics["steps"] == 3 * STEPS
    assert metrics["device"] == "cpu" and metrics["processes"] == 1
    assert metrics["resumed_from"] is None and metrics["peak_gpu_memory_mb"] is None
    assert metrics["peak_memory_mb"] > 100
    train_seconds = np.median([epoch["train_seconds"] for epoch in metrics["epochs"]])
    assert metrics["seconds_per_step"] == pytest.approx(train_seconds / STEPS)
    assert metrics["utterances_per_second"] == pytest.approx(12 / train_seconds)
    assert sum(epoch["seconds"] for epoch in metrics["epochs"]) < metrics["seconds"]
    config = files.read_json(finished / "config.json")
    assert metrics["parameters"] == config["parameters"]["all"]
    assert metrics["trainable_parameters"] == config["parameters"]["trained"]
    for epoch in metrics["epochs"]:
        assert 0 < epoch["train_seconds"] < epoch["seconds"]
        assert np.isfinite(list(epoch.values())).all()  # although validation has a class that training lacks
        assert 0 <= epoch["macro_f1"] <= 1 and 0 <= epoch["uar"] <= 1 and 0 <= epoch["accuracy"] <= 1


def test_time_of_a_step_excludes_evaluation(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        time.sleep(1.0)
        return metrics.scores(logits, labels)

    monkeypatch.setattr(loop, "scores", slowly)
    (epoch,) = files.read_json(run(system(epochs=1), manifest, tmp_path) / "metrics.json")["epochs"]
    assert epoch["train_seconds"] < epoch["seconds"] - 1.0


def test_config_of_the_run(finished: Path) -> None:
    config = files.read_json(finished / "config.json")
    assert config["name"] == "tiny" and config["seed"] == 7
    assert config["settings"] == SETTINGS.model_dump(mode="json", exclude={"description", "resources"})
    assert config["class_counts"] == {letter: "AAAAHHHNNNNN".count(letter) for letter in CLASSES}
    assert config["versions"].keys() == {"abhinaya", "git", *checkpoint.PACKAGES}
    assert config["versions"]["torch"] == version("torch")  # of a CUDA build without its suffix
    assert len(config["notes"]) == 2
    assert "random weights" in config["notes"][0]
    assert config["notes"][1] == "Never predicts contempt, disgust, fear, sad, surprise: the training split has none."
    assert 0 < config["parameters"]["trained"] < config["parameters"]["all"]


def test_each_epoch_has_another_order(manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indices: dict[int, list[int]] = {0: [], 1: []}
    load = Utterances.__getitem__

    def record(self: Utterances, index: int) -> dict:
        if self.seed is not None:
            indices[self.epoch].append(index)
        return load(self, index)

    monkeypatch.setattr(Utterances, "__getitem__", record)
    run(system(epochs=2), manifest, tmp_path)
    assert sorted(indices[0]) == sorted(indices[1]) == list(range(12))
    assert indices[0] != indices[1]


def test_validation_is_batched_by_length_and_complete(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest clips first, in batches of four."""
    loaded: list[int] = []
    measured: list[tuple[np.ndarray, np.ndarray]] = []
    load = Utterances.__getitem__

    def record(self: Utterances, index: int) -> dict:
        if self.seed is None:
            loaded.append(index)
        return load(self, index)

    def keep(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        measured.append((logits, labels))
        return metrics.scores(logits, labels)

    monkeypatch.setattr(Utterances, "__getitem__", record)
    monkeypatch.setattr(loop, "scores", keep)
    model = run(system({"max_seconds": 2.0}, epochs=1), manifest, tmp_path)
    validation = manifest[manifest["split"] == "validation"].reset_index(drop=True)
    order = validation["duration"].sort_values(ascending=False).index.tolist()
    assert loaded == order != sorted(order)
    actual = predict.predict(model, validation, cpus=1)[list(PROBABILITIES)].to_numpy()[order]
    ((logits, labels),) = measured
    np.testing.assert_allclose(actual, softmax(logits, axis=-1), atol=1e-5)
    assert [CLASSES[index] for index in labels] == validation["EmoClass"][order].tolist()


def test_old_checkpoints_are_removed_after_the_new_one_is_on_the_disk(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an older checkpoint nor the last one, which a resumed run would need."""
    events = flushes.recorded(monkeypatch)
    saved = resume.save
    contents: dict[str, set[Path]] = {}

    def save(folder: Path, *rest: object) -> None:
        before = folder.is_dir()
        saved(folder, *rest)
        if before:  # saved before the evaluation, whose results are added now
            flushes.assert_spared(folder / resume.STATE, events)
        else:
            flushes.assert_spared(folder, events)
        contents[folder.name] = {folder, *folder.rglob("*")}

    monkeypatch.setattr(resume, "save", save)
    model = run(system(save_steps=2), manifest, tmp_path)
    flushes.assert_spared(model, events)
    assert events.index(("remove", tmp_path / "checkpoints")) > events.index(("rename", model))
    steps = sorted(int(name.removeprefix("checkpoint-")) for name in contents)
    assert steps == [2, 3, 4, 6, 8, 9]
    for step, following in itertools.pairwise(steps):
        removed = tmp_path / "checkpoints" / f"checkpoint-{step}"
        if ("remove", removed) in events:
            flushed = {path for kind, path in events[: events.index(("remove", removed))] if kind == "flush"}
            assert flushed >= contents[f"checkpoint-{following}"]
    assert ("remove", tmp_path / "checkpoints/checkpoint-2") in events


def test_only_the_model_remains(finished: Path) -> None:
    assert [path.name for path in finished.parent.iterdir()] == ["model"]
    assert {path.name for path in finished.iterdir()} == {"model.safetensors", "config.json", "metrics.json"}


def test_the_stored_epoch_is_the_best(finished: Path, manifest: pd.DataFrame) -> None:
    metrics = files.read_json(finished / "metrics.json")
    table = predict.predict(finished, manifest, cpus=1)
    validation = table[table["Split"] == "validation"]
    truth = manifest.set_index(schemas.KEY)["EmoClass"][validation[schemas.KEY]]
    accuracy = float((truth.to_numpy() == validation["EmoClass"].to_numpy()).mean())
    assert accuracy == pytest.approx(metrics["epochs"][metrics["best_epoch"] - 1]["accuracy"])


def test_macro_f1_by_hand() -> None:
    logits = np.eye(8)[[0, 0, 1, 1, 1]]
    actual = metrics.scores(logits, np.array([0, 1, 1, 1, 2]))
    assert actual["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert actual["uar"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert actual["accuracy"] == pytest.approx(3 / 5)


def test_frozen_weights_from_a_folder_are_not_stored(manifest: pd.DataFrame, tmp_path: Path) -> None:
    torch.manual_seed(0)
    WhisperModel(WhisperConfig(**WHISPER)).save_pretrained(tmp_path / "whisper")
    WhisperFeatureExtractor().save_pretrained(tmp_path / "whisper")
    partly = run(system({"model": str(tmp_path / "whisper")}, epochs=1), manifest, tmp_path / "partly")
    assert not any("conv" in name or "embed_positions" in name for name in weights(partly))
    assert any(name.startswith("encoder.model.layers.") for name in weights(partly))
    frozen = run(system({"model": str(tmp_path / "whisper"), "freeze": "all"}, epochs=1), manifest, tmp_path / "frozen")
    assert not any(name.startswith("encoder.") for name in weights(frozen))
    assert files.read_json(frozen / "config.json")["notes"][0].startswith("Never predicts")
    assert len(predict.predict(frozen, manifest, cpus=1)) == 11


# --- steps divided into batches and processes


DETERMINISTIC = system(
    config=NOT_RANDOM, head={"dropout": 0.0}, loss={"name": "wfl"}, epochs=2, effective_batch=8, batch_size=2
)


@pytest.fixture(scope="module")
def accumulated(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a run without dropout. A step has four batches of two, the last step of an epoch two batches."""
    return run(DETERMINISTIC, manifest, tmp_path_factory.mktemp("accumulated"))


def assert_near(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:  # a wrong step would change them by the learning rate, 3e-3
        assert float((first[name] - second[name]).abs().max()) <= 1e-4, name
    for first, second in zip(epochs(one), epochs(other), strict=True):
        assert first == pytest.approx(second, abs=1e-5)


def test_accumulated_gradients_equal_one_large_batch(accumulated: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    whole = DETERMINISTIC.model_copy(update={"training": DETERMINISTIC.training.model_copy(update={"batch_size": 8})})
    assert_near(run(whole, manifest, tmp_path), accumulated)


@pytest.mark.parametrize(("batch", "accumulation", "processes"), [(8, 1, 1), (2, 2, 2), (1, 2, 4)])
def test_a_step_has_the_same_utterances_for_all_divisions(batch: int, accumulation: int, processes: int) -> None:
    sizes = np.random.default_rng(0).uniform(1, 10, 900).tolist()
    order = list(LengthGrouped(sizes, 8, 5))
    shares = []
    for index in range(processes):
        place = SimpleNamespace(num_processes=processes, process_index=index)
        batches = Loop.share(SimpleNamespace(processes=place), order, batch)
        shares.append([batches[start : start + accumulation] for start in range(0, len(batches), accumulation)])
    steps = [sorted(index for part in parts for one in part for index in one) for parts in zip(*shares, strict=True)]
    assert steps[:-1] == [sorted(order[start : start + 8]) for start in range(0, 896, 8)]
    assert steps[-1] == sorted(order[896:])  # the last four


@pytest.mark.slow
def test_two_processes_have_the_result_of_one(accumulated: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Started by torchrun, on the CPU. The mask embedding is not used: DDP must not wait for its gradient."""
    done = running.python(running.TRAIN, *command(DETERMINISTIC, manifest, tmp_path), processes=2)
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("epoch 2/2 ")]) == 1
    assert_near(tmp_path / "model", accumulated)
    assert files.read_json(tmp_path / "model" / "metrics.json")["processes"] == 2
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_a_run_is_resumed_with_more_processes(
    accumulated: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an epoch; the loss includes the steps before the interruption."""
    end_step = Loop.end_step

    def stop(self: Loop) -> None:
        end_step(self)
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "end_step", stop)
        with pytest.raises(Stop):
            saving = DETERMINISTIC.training.model_copy(update={"save_steps": 1})
            run(DETERMINISTIC.model_copy(update={"training": saving}), manifest, tmp_path)
    done = running.python(running.TRAIN, *command(DETERMINISTIC, manifest, tmp_path), processes=2)
    assert done.returncode == 0, done.stderr
    assert files.read_json(tmp_path / "model" / "metrics.json")["resumed_from"] == "checkpoint-1"
    assert_near(tmp_path / "model", accumulated)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_with_cached_features_equals_prediction(
    precision: str, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation logits of the best epoch, from cached features, are those of `predict` from the audio."""
    measured = []

    def record(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        measured.append((logits, labels))
        return metrics.scores(logits, labels)

    monkeypatch.setattr(loop, "scores", record)
    settings = system({"model": "random:whisper", "freeze": "all"}, epochs=2, precision=precision)
    model = trained(settings, manifest, tmp_path, cached(settings, manifest, tmp_path))
    validation = manifest[manifest["split"] == "validation"]
    assert [len(labels) for _, labels in measured] == [7, 7]  # all utterances, although 7 is not a multiple of 4
    logits, labels = measured[files.read_json(model / "metrics.json")["best_epoch"] - 1]
    assert [CLASSES[index] for index in labels] == validation["EmoClass"].tolist()
    expected = torch.from_numpy(logits).double().softmax(-1)
    actual = (
        predict.predict(model, manifest, cpus=1)
        .set_index(schemas.KEY)
        .loc[validation[schemas.KEY], list(PROBABILITIES)]
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5 if precision == "fp32" else 2e-3)
    assert not any(name.startswith("encoder.") for name in weights(model))  # drawn again from the seed


def test_settings_in_a_json_file_are_read_as_json(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(as_json(SETTINGS))  # adam_epsilon: 1e-08, which YAML takes for text
    assert parse(SpeechSystem, str(tmp_path / "settings.json")) == SETTINGS


# --- invalid input


def refused(settings: SpeechSystem, manifest: pd.DataFrame, folder: Path, **keys: int) -> str:
    with pytest.raises(UserError) as caught:
        training.train("tiny", settings, manifest, 7, folder / "checkpoints", folder / "model", **keys)
    assert "\n" not in str(caught.value)
    assert not (folder / "model").exists()
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_reported(split: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    assert f"no utterances in the {split} split" in refused(SETTINGS, manifest[manifest["split"] != split], tmp_path)


@pytest.mark.parametrize("letter", ["O", None])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_another_emotion_is_reported(split: str, letter: str | None, manifest: pd.DataFrame, tmp_path: Path) -> None:
    name = manifest.loc[manifest["split"] == split, schemas.KEY].iloc[0]
    changed = manifest.assign(EmoClass=manifest["EmoClass"].where(manifest[schemas.KEY] != name, letter))
    assert_names(refused(SETTINGS, changed, tmp_path), name, repr(letter), split)


def test_too_few_gpus_are_reported(manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "resources.gpu: 1 requested, 0 visible" in refused(SETTINGS, manifest, tmp_path, gpus=1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "resources.gpu: 4 requested, 2 visible" in refused(SETTINGS, manifest, tmp_path, gpus=4)


def test_an_indivisible_batch_is_reported() -> None:
    with pytest.raises(UserError, match=r"training\.effective_batch: 4 is not a multiple"):
        loop.accumulation(SETTINGS.training, 3)


def test_one_gpu_of_several_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(PartialState, "_shared_state", {})
    processes = training._processes(torch.device("cuda", 0))
    assert processes.device.type == "cuda"
    assert processes.num_processes == 1


def test_script_prints_an_error_in_one_line(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = command(SETTINGS, manifest[manifest["split"] == "test"], tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *wrong])
    with pytest.raises(SystemExit, match=r"^error: manifest: no utterances in the train split; .*$"):
        errors.run(train.main)


def test_divergence_is_reported(manifest: pd.DataFrame, tmp_path: Path) -> None:
    message = refused(system(learning_rate=1e30), manifest, tmp_path)
    assert_names(message, "training diverged", "`training.learning_rate`")


@pytest.mark.parametrize("folder", ["checkpoints", "model"])
def test_files_of_the_user_are_never_removed(folder: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    own = tmp_path / folder / "thesis.tex"
    own.parent.mkdir()
    own.write_text("years of work")
    with pytest.raises(UserError, match=rf"^{tmp_path / folder}: (contains other files|not a model folder)"):
        training.train("tiny", SETTINGS, manifest, 7, tmp_path / "checkpoints", tmp_path / "model")
    assert own.read_text() == "years of work"


def test_a_data_loading_process_reports_invalid_audio_in_one_line(
    manifest: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, loader = checkpoint.build(SETTINGS, [1] * 8, 7, torch.device("cpu"))
    rows = manifest.assign(path=str(tmp_path / "gone.wav"))

    def load() -> None:
        list(torch.utils.data.DataLoader(Utterances(rows, loader), num_workers=1))

    with pytest.raises(SystemExit) as caught:
        errors.run(load)
    assert str(caught.value) == f"error: {tmp_path / 'gone.wav'}: audio file not found"
