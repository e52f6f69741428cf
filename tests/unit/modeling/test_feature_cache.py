"""Cached features of frozen speech and text encoders: training and prediction are the same with and without them."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from abhinaya.config.base import settings_json
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.modeling import checkpoint, encoders
from abhinaya.modeling.encoders import speech, text
from abhinaya.modeling.feature_cache import FeatureCache
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support import running, speech_corpus, text_corpus
from support.cached import CPU, cached, extract, settings_of, trained
from support.messages import assert_names
from support.speech_corpus import WHISPER, system

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "extract_features.py"
FROZEN = {"freeze": "all", "min_seconds": 0.5, "max_seconds": 0.9}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Clips of 0.8 to 1.2 s: `FROZEN` crops most of them."""
    return speech_corpus.make_manifest(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def transcribed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return text_corpus.make_manifest(tmp_path_factory.mktemp("transcribed"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    WhisperModel(WhisperConfig(**WHISPER)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def assert_same_predictions(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert one[[KEY, "EmoClass"]].equals(other[[KEY, "EmoClass"]])
    np.testing.assert_allclose(one[list(PROBABILITIES)], other[list(PROBABILITIES)], rtol=0, atol=1e-6)


@dataclass
class CachedRows(Dataset):
    cache: FeatureCache
    rows: list[dict]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.cache.load(self.rows[index])


# --- the numbers


@pytest.mark.parametrize("model", ["random:wavlm", "random:whisper"])
def test_cached_features_are_the_encoders_own(model: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Cropped to the middle, independent of the other clips of the batch."""
    settings = system({"model": model, **FROZEN})
    cache = FeatureCache(cached(settings, manifest, tmp_path), settings_of(settings))
    loader, encoder, _ = encoders.frozen(settings_of(settings), CPU)
    with torch.inference_mode():
        for row in manifest.to_dict("records"):
            inputs = loader.load(row, None)["inputs"][None]
            vectors, lengths = encoder(inputs, torch.tensor([inputs.shape[1]]))
            loaded = cache.load(row)
            assert loaded.keys() == {"vectors"} and loaded["vectors"].shape == (lengths[0], cache.widths["vectors"])
            torch.testing.assert_close(loaded["vectors"], vectors[0, : lengths[0]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["random:wavlm", "random:whisper"])
def test_features_are_the_bytes_of_the_file(model: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """In one process, in threads and in forked processes, which share the open files."""
    settings = system({"model": model, **FROZEN})
    indices = cached(settings, manifest, tmp_path)
    cache = FeatureCache(indices, settings_of(settings))
    stored = {}
    for index in indices:
        numbers = np.fromfile(index.with_suffix(".bin"), np.float32)
        for entry in pd.read_parquet(index).to_dict("records"):
            start, count = entry["vectors_start"], entry["vectors_count"] * cache.widths["vectors"]
            stored[entry[KEY]] = numbers[start : start + count].tobytes()
    rows = manifest.to_dict("records") * 3
    with ThreadPoolExecutor(4) as threads:
        loaded = [cache.load(rows[0]), *threads.map(cache.load, rows[1:])]
    forked = DataLoader(CachedRows(cache, rows), None, num_workers=2, multiprocessing_context="fork")
    for row, one, other in zip(rows, loaded, forked, strict=True):
        assert one["vectors"].numpy().tobytes() == stored[row[KEY]]
        assert other["vectors"].numpy().tobytes() == stored[row[KEY]]


@pytest.mark.parametrize(
    ("damage", "words"), [(Path.unlink, "not found"), (lambda path: os.truncate(path, 9), "trunc")]
)
def test_damaged_numbers_are_reported(
    damage: Callable[[Path], None], words: str, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system({"model": "random:wavlm", **FROZEN})
    (index,) = cached(settings, manifest[:1], tmp_path, shards=1)
    damage(index.with_suffix(".bin"))
    with pytest.raises(UserError) as caught:
        FeatureCache([index], settings_of(settings)).load(manifest.iloc[0])
    assert_names(str(caught.value), f"{index.with_suffix('.bin')}: ", words, SCRIPT.name)


def test_cached_features_have_the_precision_of_the_training(manifest: pd.DataFrame, tmp_path: Path) -> None:
    """bf16 rounds to about 0.4 %: features in fp32 would not be those that `predict` computes."""
    settings = system({"model": "random:whisper", **FROZEN}, precision="bf16")
    paths = cached(settings, manifest[:1], tmp_path, shards=1)
    actual = FeatureCache(paths, settings_of(settings)).load(manifest.iloc[0])["vectors"]
    classifier, loader = checkpoint.build(settings, [1] * 8, 7, CPU)
    inputs = loader.load(manifest.iloc[0].to_dict(), None)["inputs"][None]
    with torch.inference_mode():
        exact = classifier.encoder(inputs, torch.tensor([inputs.shape[1]]))[0][0]
        with torch.autocast("cpu", torch.bfloat16):
            expected = classifier.encoder(inputs, torch.tensor([inputs.shape[1]]))[0][0].float()
    assert (actual - expected).abs().max() < 0.2 * (exact - expected).abs().max()
    exactly = system({"model": "random:whisper", **FROZEN}, precision="fp32")
    with pytest.raises(UserError) as caught:
        FeatureCache(paths, settings_of(exactly))
    assert_names(str(caught.value), f"{paths[0]}: ", "precision bf16", "fp32", SCRIPT.name)


# --- speech systems


@pytest.fixture(scope="module")
def s1(whisper: Path, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """The model of a system that was trained with cached features, and the shards of the cache."""
    folder = tmp_path_factory.mktemp("s1")
    settings = system({"model": str(whisper), **FROZEN})
    shards = cached(settings, manifest, folder)
    return trained(settings, manifest, folder, shards), shards


def test_s1_predictions_are_the_same_with_and_without_the_cache(
    s1: tuple[Path, list[Path]], manifest: pd.DataFrame
) -> None:
    model, shards = s1
    uncached = predict.predict(model, manifest, cpus=1)
    assert_same_predictions(predict.predict(model, manifest, cpus=1, features=shards), uncached)
    few = manifest[manifest["split"] == "test"].tail(2)
    own = uncached[uncached[KEY].isin(few[KEY])].set_index(KEY).loc[few[KEY]].reset_index()
    assert_same_predictions(predict.predict(model, few, cpus=1, features=shards), own)


def test_s1_training_is_the_same_with_and_without_the_cache(
    s1: tuple[Path, list[Path]], whisper: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    without = trained(system({"model": str(whisper), **FROZEN}), manifest, tmp_path)
    one, other = (load_file(model / checkpoint.WEIGHTS) for model in (s1[0], without))
    assert one.keys() == other.keys() and not any(name.startswith("encoder.") for name in one)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-4)


def test_encoder_is_not_loaded_if_a_cache_is_used(
    s1: tuple[Path, list[Path]],
    whisper: Path,
    manifest: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(speech, "build", refuse)
    model, shards = s1
    predict.predict(model, manifest, cpus=1, features=shards)
    another_loss = system({"model": str(whisper), **FROZEN}, loss={"name": "wfl"}, epochs=1)
    trained(another_loss, manifest, tmp_path, shards, seed=8)  # and another seed
    with pytest.raises(AssertionError, match="loaded"):
        predict.predict(model, manifest, cpus=1)


def test_a_cache_of_changed_weights_is_refused(whisper: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(whisper, tmp_path / "whisper")
    settings = system({"model": str(tmp_path / "whisper"), **FROZEN}, epochs=1)
    shards = cached(settings, manifest, tmp_path)
    weights = tmp_path / "whisper" / "model.safetensors"
    save_file({name: 2 * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(UserError) as caught:
        trained(settings, manifest, tmp_path, shards)
    assert_names(str(caught.value), f"{shards[0]}: ", str(tmp_path / "whisper"), SCRIPT.name)


@pytest.mark.parametrize("change", [{"max_seconds": 0.8}, {"window": "full"}, {"layer": 1}])
def test_a_cache_of_other_settings_is_refused(
    change: dict, s1: tuple[Path, list[Path]], whisper: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    ((key, value),) = change.items()
    with pytest.raises(UserError) as caught:
        trained(system({"model": str(whisper), **FROZEN, **change}), manifest, tmp_path, s1[1])
    assert_names(str(caught.value), f"{s1[1][0]}: ", key, str(value), SCRIPT.name)


def test_an_utterance_without_features_is_reported(
    s1: tuple[Path, list[Path]], manifest: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "new.wav").symlink_to(manifest["path"][0])
    more = pd.DataFrame([manifest.iloc[0].to_dict() | {KEY: "new.wav", "split": "test"}])
    with pytest.raises(UserError) as caught:
        predict.predict(s1[0], pd.concat([manifest, more], ignore_index=True), cpus=1, features=s1[1])
    assert_names(str(caught.value), f"{s1[1][0]}: ", "new.wav", SCRIPT.name)


def test_a_shard_may_be_empty(whisper: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    settings = settings_of(system({"model": str(whisper), **FROZEN}))
    shards = [extract(manifest[:count], settings, tmp_path / f"{count}.parquet") for count in (1, 0)]
    for order in (shards, shards[::-1]):
        assert FeatureCache(order, settings).load(manifest.iloc[0])["vectors"].shape[1] == WHISPER["d_model"]


def test_random_weights_have_different_features_for_each_seed(manifest: pd.DataFrame, tmp_path: Path) -> None:
    """The encoder is not part of the model folder; prediction draws it again from the seed of the training."""
    settings = system({"model": "random:wavlm", **FROZEN}, epochs=1)
    models = []
    for seed in (7, 8):
        shards = cached(settings, manifest, tmp_path / str(seed), seed=seed)
        model = trained(settings, manifest, tmp_path / str(seed), shards, seed)
        assert not any(name.startswith("encoder.") for name in load_file(model / checkpoint.WEIGHTS))
        assert_same_predictions(
            predict.predict(model, manifest, cpus=1), predict.predict(model, manifest, cpus=1, features=shards)
        )
        models.append(model)
    with pytest.raises(UserError) as caught:
        predict.predict(models[0], manifest, cpus=1, features=shards)
    assert_names(str(caught.value), f"{shards[0]}: ", "seed 8", "7", SCRIPT.name)


def test_training_without_a_cache_also_crops_to_the_middle(
    tmp_path: Path, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = []
    load = speech.WaveformLoader.load

    def record(self: speech.WaveformLoader, row: dict, generator: object) -> dict:
        generators.append(generator)
        return load(self, row, generator)

    monkeypatch.setattr(speech.WaveformLoader, "load", record)
    trained(system({"model": "random:wavlm", **FROZEN}, epochs=1), manifest, tmp_path)
    assert len(generators) == 12 + 7 and set(generators) == {None}


# --- text systems


@pytest.fixture(scope="module")
def t2(llama: Path, transcribed: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("t2")
    settings = text_corpus.system(llama, {"freeze": "all", "max_tokens": 8}, epochs=1)
    shards = cached(settings, transcribed, folder)
    return trained(settings, transcribed, folder, shards), shards


def test_t2_predictions_are_the_same_with_and_without_the_cache(
    t2: tuple[Path, list[Path]], llama: Path, transcribed: pd.DataFrame, tmp_path: Path
) -> None:
    model, shards = t2
    uncached = predict.predict(model, transcribed, cpus=1)
    assert_same_predictions(predict.predict(model, transcribed, cpus=1, features=shards), uncached)
    settings = text_corpus.system(llama, {"freeze": "all", "max_tokens": 8}, epochs=1)
    without = trained(settings, transcribed, tmp_path)
    assert_same_predictions(predict.predict(without, transcribed, cpus=1), uncached)
    notes = [files.read_json(folder / "config.json")["notes"] for folder in (model, without)]
    assert notes[0] == notes[1] and "train: 8 of 14 transcripts are longer than 8 tokens and were cut." in notes[0]


def test_language_model_is_not_loaded_if_a_cache_is_used(
    t2: tuple[Path, list[Path]], transcribed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(text.AutoModel, "from_pretrained", refuse)
    assert len(predict.predict(t2[0], transcribed, cpus=1, features=t2[1])) == 11


def test_batches_are_the_same_with_and_without_the_cache(
    t2: tuple[Path, list[Path]], llama: Path, transcribed: pd.DataFrame
) -> None:
    settings = text_corpus.system(llama, {"freeze": "all", "max_tokens": 8})
    with_cache, without = (encoders.build(settings, 7, CPU, features)[0] for features in (t2[1], ()))
    assert Utterances(transcribed, with_cache).sizes == Utterances(transcribed, without).sizes


def test_features_of_another_transcript_are_refused(t2: tuple[Path, list[Path]], transcribed: pd.DataFrame) -> None:
    name = transcribed.loc[transcribed["split"] == "test", KEY].iloc[0]
    other = transcribed.assign(text=transcribed["text"].where(transcribed[KEY] != name, "other words"))
    with pytest.raises(UserError) as caught:
        predict.predict(t2[0], other, cpus=1, features=t2[1])
    assert_names(str(caught.value), ".parquet: ", "transcript", name, SCRIPT.name)


# --- the script


@pytest.mark.slow
def test_script_extracts_the_features_of_a_text_encoder(
    t2: tuple[Path, list[Path]], llama: Path, transcribed: pd.DataFrame, tmp_path: Path
) -> None:
    schemas.write_manifest(transcribed.drop(columns="text"), tmp_path / "manifest.parquet")
    files.write_parquet(transcribed, schemas.TRANSCRIPTS, tmp_path / "transcripts.parquet")
    settings = settings_of(text_corpus.system(llama, {"freeze": "all", "max_tokens": 8}))
    command = [SCRIPT, "--manifest", tmp_path / "manifest.parquet", "--cpus", "1"]
    command += ["--settings", settings_json(settings), "--output", tmp_path / "0.parquet"]
    refused = running.python(*command)
    assert refused.returncode == 1
    assert_names(refused.stderr.rstrip(), "error: ", "--transcripts")
    done = running.python(*command, "--transcripts", tmp_path / "transcripts.parquet")
    assert done.returncode == 0, done.stderr
    one, other = FeatureCache([tmp_path / "0.parquet"], settings), FeatureCache(t2[1], settings)
    for row in transcribed.to_dict("records"):
        torch.testing.assert_close(one.load(row)["vectors"], other.load(row)["vectors"], rtol=0, atol=1e-5)


def test_features_with_levels_are_another_cache(manifest: pd.DataFrame, tmp_path: Path) -> None:
    plain = system({"model": "random:whisper", "freeze": "all"}, head={"pooling": "mean_std", "attention_init": 1.0})
    speech = system(
        {"model": "random:whisper", "freeze": "all"}, head={"pooling": "mean_std_speech", "attention_init": 1.0}
    )
    assert settings_of(plain).key != settings_of(speech).key
    assert "levels" not in settings_of(plain).decisive
    indices = cached(speech, manifest, tmp_path / "speech")
    with pytest.raises(UserError, match="levels"):
        FeatureCache(indices, settings_of(plain))
    model = trained(speech, manifest, tmp_path / "trained", indices)
    with_cache, without = (predict.predict(model, manifest, features=used) for used in (indices, ()))
    np.testing.assert_allclose(with_cache[list(PROBABILITIES)], without[list(PROBABILITIES)], atol=1e-4)
