"""Training and prediction from transcripts, with LoRA."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from abhinaya.config.system import TextSystem
from abhinaya.data import schemas
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.training import resume
from support import running, speech_corpus, text_corpus
from support.messages import assert_names
from support.speech_corpus import command, run
from support.text_corpus import system

STEPS = 4  # per epoch: 14 transcripts, 4 per step


@pytest.fixture(scope="module")
def settings(llama: Path) -> TextSystem:
    return system(llama)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return text_corpus.make_manifest(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(settings: TextSystem, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(settings, manifest, tmp_path_factory.mktemp("finished"))


def weights_of(model: Path) -> bytes:
    return (model / checkpoint.WEIGHTS).read_bytes()


def test_it_learns_from_the_words(llama: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    model = run(system(llama, epochs=12, effective_batch=2), manifest, tmp_path)
    metrics = files.read_json(model / "metrics.json")
    assert metrics["epochs"][metrics["best_epoch"] - 1]["accuracy"] == 1.0
    table = predict.predict(model, manifest, cpus=1)
    truth = manifest.set_index(schemas.KEY)["EmoClass"]
    assert (table["EmoClass"].to_numpy() == truth[table[schemas.KEY]].to_numpy()).all()


def test_the_same_run_has_the_same_bytes(
    finished: Path, settings: TextSystem, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    assert weights_of(run(settings, manifest, tmp_path)) == weights_of(finished)


def test_only_trained_weights_are_stored(finished: Path, llama: Path) -> None:
    stored = sum(path.stat().st_size for path in finished.iterdir())
    assert stored < 0.6 * (llama / "model.safetensors").stat().st_size
    config = files.read_json(finished / "config.json")
    assert config["settings"]["family"] == "text"
    assert config["parameters"]["trained"] < 0.5 * config["parameters"]["all"]


@pytest.mark.slow
def test_a_killed_run_has_the_same_result(
    finished: Path, settings: TextSystem, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    """With the scripts and the tables that a rule passes to them."""
    running.train_killed(*command(settings, manifest, tmp_path), epochs=2)
    resumed = run(settings, manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{2 * STEPS}"
    assert weights_of(resumed) == weights_of(finished)


def test_other_transcripts_are_another_task(settings: TextSystem, manifest: pd.DataFrame) -> None:
    other = manifest.assign(text="something else")
    one, two = (resume.fingerprint(settings, {"train": rows}, 1) for rows in (manifest, other))
    assert one != two
    speech = speech_corpus.system()
    one, two = (resume.fingerprint(speech, {"train": rows}, 1) for rows in (manifest, other))
    assert one == two


def test_a_prediction_does_not_depend_on_other_transcripts(finished: Path, manifest: pd.DataFrame) -> None:
    whole = predict.predict(finished, manifest, cpus=1).set_index(schemas.KEY)
    reversed_ = predict.predict(finished, manifest[::-1], cpus=1).set_index(schemas.KEY)
    for name in whole.index:
        alone = predict.predict(finished, manifest[manifest[schemas.KEY] == name], cpus=1).iloc[0]
        for other in (alone, reversed_.loc[name]):
            np.testing.assert_allclose(
                other[list(PROBABILITIES)].astype(float), whole.loc[name, list(PROBABILITIES)].astype(float), atol=1e-6
            )
            assert other["EmoClass"] == whole.loc[name, "EmoClass"]


def test_truncated_transcripts_are_counted_in_the_notes(
    llama: Path, manifest: pd.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = run(system(llama, {"max_tokens": 8}, epochs=1), manifest, tmp_path)
    counts = [note for note in files.read_json(model / "config.json")["notes"] if "were cut" in note]
    assert [note.partition(":")[0] for note in counts] == ["train", "validation"]
    assert counts[0] == "train: 8 of 14 transcripts are longer than 8 tokens and were cut."
    capfd.readouterr()
    assert len(predict.predict(model, manifest, cpus=1)) == 11
    assert "of 11 transcripts are longer than 8 tokens and were cut." in capfd.readouterr().err


def test_a_frozen_model_predicts_as_in_training(llama: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    model = run(system(llama, {"freeze": "all"}), manifest, tmp_path)
    assert not any(name.startswith("encoder.") for name in load_file(model / checkpoint.WEIGHTS))
    metrics = files.read_json(model / "metrics.json")
    table = predict.predict(model, manifest, cpus=1)
    validation = table[table["Split"] == "validation"]
    truth = manifest.set_index(schemas.KEY)["EmoClass"][validation[schemas.KEY]]
    accuracy = float((truth.to_numpy() == validation["EmoClass"].to_numpy()).mean())
    assert accuracy == pytest.approx(metrics["epochs"][metrics["best_epoch"] - 1]["accuracy"])


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"precision": "bf16"}])
def test_training_options(llama: Path, manifest: pd.DataFrame, tmp_path: Path, options: dict) -> None:
    assert_predicts(run(system(llama, epochs=1, **options), manifest, tmp_path), manifest)


def test_a_4_bit_model_is_trained_stored_and_predicts(llama: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """bitsandbytes on a CPU requires widths that are multiples of 64, as in published models."""
    shutil.copytree(llama, tmp_path / "wide")
    config = LlamaConfig.from_pretrained(llama, intermediate_size=384)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    settings = system(tmp_path / "wide", {"quantization": "4bit"}, epochs=1)
    assert_predicts(run(settings, manifest, tmp_path), manifest)


def assert_predicts(model: Path, manifest: pd.DataFrame) -> None:
    actual = predict.predict(model, manifest, cpus=1)[list(PROBABILITIES)].to_numpy()
    assert np.isfinite(actual).all()
    assert (actual[:, [CLASSES.index(letter) for letter in "CDFU"]] == 0).all()  # training has none of these


def test_missing_transcripts_are_reported(settings: TextSystem, manifest: pd.DataFrame, finished: Path) -> None:
    with pytest.raises(UserError, match=r"^a text system reads transcripts; give --transcripts$"):
        run(settings, manifest.drop(columns="text"), finished.parent / "never")
    with pytest.raises(UserError, match=r"^a text system reads transcripts; give --transcripts$"):
        predict.predict(finished, manifest.drop(columns="text"), cpus=1)


def test_a_missing_base_model_is_reported(finished: Path, llama: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "model")
    config = files.read_json(tmp_path / "model" / "config.json")
    config["settings"]["encoder"]["model"] = str(tmp_path / "missing")
    files.write_json(config, tmp_path / "model" / "config.json")
    with pytest.raises(UserError, match="folder not found"):
        predict.predict(tmp_path / "model", manifest, cpus=1)


def test_options_reach_the_model(llama: Path) -> None:
    def built(**options: object) -> torch.nn.Module:
        settings = system(llama, **options)
        return checkpoint.build(settings, [1] * 8, 7, torch.device("cpu"))[0].encoder.model

    assert built(gradient_checkpointing=True).is_gradient_checkpointing
    assert not built().is_gradient_checkpointing
    frozen = [weight for weight in built(precision="bf16").parameters() if not weight.requires_grad]
    assert {weight.dtype for weight in frozen} == {torch.bfloat16}


def test_a_changed_base_model_is_refused(llama: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "base")
    settings = system(tmp_path / "base", epochs=1)
    model = run(settings, manifest, tmp_path)
    before = resume.fingerprint(settings, {"train": manifest}, 1)
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] += 0.5
    save_file(weights, file, metadata={"format": "pt"})
    assert resume.fingerprint(settings, {"train": manifest}, 1) != before
    with pytest.raises(UserError) as caught:
        predict.predict(model, manifest, cpus=1)
    assert_names(str(caught.value), "config.json: ", str(tmp_path / "base"), "has changed since the training")
