"""Training and prediction with SALMONN."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from abhinaya.data import schemas
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.modeling.checkpoint import WEIGHTS, build
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.training.loop import Loop
from support import running, salmonn_parts
from support.messages import assert_names
from support.salmonn_parts import system
from support.small_salmonn import RANDOM_BEATS
from support.speech_corpus import Stop, command, run


@pytest.fixture(scope="module")
def manifest(parts: Path) -> pd.DataFrame:
    return salmonn_parts.make_manifest(parts)


CLIP = {"speech_window": "clip", "window": "clip", "max_seconds": 2.0}


@pytest.fixture(scope="module")
def finished(parts: Path, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(system(parts, audio_encoder=CLIP), manifest, tmp_path_factory.mktemp("finished"))


@pytest.mark.slow
def test_the_loss_decreases(parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    deterministic = system(parts, {"lora": {"dropout": 0.0}}, CLIP, {"dropout": 0.0}, epochs=12, learning_rate=3e-3)
    epochs = files.read_json(run(deterministic, manifest, tmp_path) / "metrics.json")["epochs"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]


def test_only_trained_weights_are_stored(finished: Path) -> None:
    stored = load_file(finished / WEIGHTS)
    parts = {name.split(".")[1] for name in stored if name.startswith("encoder.")}
    assert parts == {"speech", "model"}
    assert all("lora_" in name for name in stored if name.startswith("encoder.model."))
    assert files.read_json(finished / "config.json")["notes"] == [
        "Never predicts contempt, disgust, fear, surprise: the training split has none."
    ]


@pytest.mark.slow
def test_an_interrupted_run_has_the_same_result(
    finished: Path, parts: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = Loop.train_epoch

    def stop(self: Loop, epoch: int) -> None:
        if epoch == 1:
            raise Stop
        train_epoch(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "train_epoch", stop)
        with pytest.raises(Stop):
            run(system(parts, audio_encoder=CLIP), manifest, tmp_path)
    resumed = run(system(parts, audio_encoder=CLIP), manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == "checkpoint-2"
    assert (resumed / WEIGHTS).read_bytes() == (finished / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_killed_run_has_the_same_result(finished: Path, parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Killed and started again by the script; the checkpoint contains only the trained weights."""
    arguments = command(system(parts, audio_encoder=CLIP), manifest, tmp_path)
    running.train_killed(*arguments, epochs=1)
    assert not (tmp_path / "model").exists()
    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    assert load_file(checkpoint / WEIGHTS).keys() == load_file(finished / WEIGHTS).keys()
    (weights,) = checkpoint.glob("*.safetensors")  # no frozen weights
    trained = files.read_json(finished / "metrics.json")["trainable_parameters"]
    assert weights.stat().st_size < 4 * trained + 2**14  # fp32, and the names
    done = running.python(running.TRAIN, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"resuming from {checkpoint}" in done.stderr
    assert files.read_json(tmp_path / "model" / "metrics.json")["resumed_from"] == checkpoint.name
    resumed, expected = (folder / WEIGHTS for folder in (tmp_path / "model", finished))
    assert resumed.read_bytes() == expected.read_bytes()


def test_a_prediction_does_not_depend_on_other_clips(finished: Path, manifest: pd.DataFrame) -> None:
    whole = predict.predict(finished, manifest, cpus=1).set_index(schemas.KEY)[list(PROBABILITIES)]
    for name in whole.index[:3]:
        alone = predict.predict(finished, manifest[manifest[schemas.KEY] == name], cpus=1)[list(PROBABILITIES)]
        np.testing.assert_allclose(alone.iloc[0], whole.loc[name], atol=1e-5)


@pytest.mark.slow
def test_st1_excludes_long_transcripts_from_training_only(parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    settings = system(parts, {"transcript": True, "max_words": 3}, CLIP, epochs=1)
    model = run(settings, manifest, tmp_path)
    notes = files.read_json(model / "config.json")["notes"]
    assert "4 of 8 transcripts have more than 3 words and were not trained on." in notes
    assert files.read_json(model / "config.json")["class_counts"] == {
        **dict.fromkeys("CDFU", 0),
        **dict.fromkeys("AHNS", 1),
    }
    predicted = predict.predict(model, manifest, cpus=1)
    assert len(predicted) == 8
    other = predict.predict(model, manifest.assign(text="something else"), cpus=1)
    assert not np.allclose(predicted[list(PROBABILITIES)], other[list(PROBABILITIES)], atol=1e-6)
    with pytest.raises(UserError, match="reads transcripts; give --transcripts"):
        predict.predict(model, manifest.drop(columns="text"), cpus=1)


def test_random_parts_are_in_the_notes_and_drawn_again_for_prediction(
    parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    audio_encoder = CLIP | RANDOM_BEATS
    model = run(system(parts, {"checkpoint": None}, audio_encoder, epochs=1), manifest, tmp_path)
    assert not any(name.startswith("encoder.audio_encoder.") for name in load_file(model / WEIGHTS))
    note = files.read_json(model / "config.json")["notes"][0]
    assert note.startswith("Starts from random weights, not pretrained ones: BEATs and Q-Former and LoRA.")
    before = predict.predict(model, manifest, cpus=1)
    torch.rand(3)  # changes the state of the generator
    pd.testing.assert_frame_equal(predict.predict(model, manifest, cpus=1), before)


@pytest.fixture(scope="module")
def fine_tuned(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the authors' layout: SALMONN's weights and the head's."""
    classifier, _ = build(system(parts), [1] * 8, 7, torch.device("cpu"))
    saved = classifier.saved()
    weights = {name.removeprefix("encoder."): saved[name] for name in saved if name.startswith("encoder.")}
    head = {name: value for name, value in saved.items() if not name.startswith("encoder.")}
    path = tmp_path_factory.mktemp("fine_tuned") / "best.pth"
    torch.save(salmonn_parts.fine_tuned(weights, head), path)
    return path


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"norm": "hidden"}, ("`head.norm: frames`",)),
        ({"norm": "hidden", "hidden": 128}, ("`head.norm: frames`",)),
        ({"hidden": 32}, ("(shape [16], expected [32])", "`head.hidden` to 16")),
    ],
)
def test_other_head_is_reported(head: dict, words: tuple[str, ...], parts: Path, fine_tuned: Path) -> None:
    settings = system(parts, {"checkpoint": str(fine_tuned)}, head=head)
    with pytest.raises(UserError) as caught:
        build(settings, [1] * 8, 7, torch.device("cpu"))
    assert_names(str(caught.value), f"{fine_tuned}: ", *words)
