"""Features of SALMONN's frozen audio encoders: cached ones equal those computed on the fly, and invalid caches."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from abhinaya.config import parse
from abhinaya.config.base import settings_json
from abhinaya.config.features import SalmonnFeatures
from abhinaya.config.system import AudioEncoder
from abhinaya.data import schemas
from abhinaya.data.dataset import collate
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.modeling import checkpoint
from abhinaya.modeling.encoders.salmonn import audio_encoders, speech_llm
from abhinaya.modeling.feature_cache import FeatureCache, index_schema
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support import golden, running, salmonn_parts
from support.cached import cached, extract, settings_of, trained
from support.messages import assert_names
from support.salmonn_parts import system
from support.small_salmonn import RANDOM_BEATS
from support.speech_corpus import run

CPU = torch.device("cpu")
NOT_CACHED = {"speech_window": "clip", "window": "clip"}
INDEX = index_schema(("speech", "audio"))
CLIP = NOT_CACHED | {"cache": True}
COMMITS = ("a" * 40, "b" * 40)
SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "extract_features.py"


@pytest.fixture(scope="module")
def manifest(parts: Path) -> pd.DataFrame:
    return salmonn_parts.make_manifest(parts)


def predicted(model: Path, manifest: pd.DataFrame, features: list[Path] | tuple = ()) -> pd.DataFrame:
    return predict.predict(model, manifest, cpus=1, features=features)[list(PROBABILITIES)]


@pytest.fixture(scope="module")
def shards(parts: Path, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cached(system(parts, audio_encoder=CLIP), manifest, tmp_path_factory.mktemp("speech"))


def test_features_of_golden_clips_are_those_of_the_reference(
    parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    """Whisper's and BEATs' vectors, from the audio to the cache; Whisper's last 4 frames are not used."""
    rows = manifest.assign(clip=[Path(path).stem for path in manifest["path"]]).drop_duplicates("clip")
    settings = system(parts, audio_encoder={"cache": True})
    features = FeatureCache(cached(settings, rows, tmp_path, shards=1), settings_of(settings))
    expected = golden.arrays("salmonn")
    for name, clip in rows[rows["clip"].isin(("a", "b"))][[schemas.KEY, "clip"]].itertuples(index=False):
        loaded = features.load({schemas.KEY: name})
        np.testing.assert_allclose(loaded["speech"], expected[f"whisper_{clip}"][: 88 * 17], atol=1e-4)
        np.testing.assert_allclose(loaded["audio"], expected[f"beats_{clip}"], atol=1e-4)


@pytest.mark.slow
def test_cached_equals_uncached(parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path) -> None:
    """Clips below `max_seconds` are never cropped, so training is the same, too."""
    uncached = run(system(parts, audio_encoder=NOT_CACHED, head={"dropout": 0.0}), manifest, tmp_path / "uncached")
    model = trained(system(parts, audio_encoder=CLIP, head={"dropout": 0.0}), manifest, tmp_path / "cached", shards)
    names = load_file(uncached / checkpoint.WEIGHTS).keys()
    assert load_file(model / checkpoint.WEIGHTS).keys() == names
    on_the_fly = predicted(uncached, manifest)
    np.testing.assert_allclose(predicted(uncached, manifest, shards), on_the_fly, atol=1e-4)
    np.testing.assert_allclose(predicted(model, manifest), on_the_fly, atol=1e-2)


@pytest.mark.slow
def test_longer_clips_are_cropped_to_the_middle(parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Cached features equal those of prediction, even for clips that training would crop at random."""
    settings = system(parts, audio_encoder=CLIP | {"max_seconds": 1.5}, epochs=1)
    shards = cached(settings, manifest, tmp_path, shards=1)
    features = FeatureCache(shards, settings_of(settings))
    loader, audio_encoder = audio_encoders.build(settings.encoder.audio_encoder)
    assert (manifest["duration"] > 1.5).any()
    for row in manifest.drop_duplicates("path").to_dict("records"):
        batch = collate([loader.load(row, None) | {"labels": 0}])
        del batch["labels"]
        for kind, vectors in features.load(row).items():
            np.testing.assert_allclose(vectors, audio_encoder(**batch)[kind][0], atol=1e-4)
    model = trained(settings, manifest, tmp_path / "run", shards)
    np.testing.assert_allclose(predicted(model, manifest, shards), predicted(model, manifest), atol=1e-4)


def test_features_do_not_depend_on_the_precision_of_the_system(parts: Path, manifest: pd.DataFrame) -> None:
    """So one cache can be used with every `precision`."""
    loader, audio_encoder = audio_encoders.build(system(parts, audio_encoder=NOT_CACHED).encoder.audio_encoder)
    batch = collate([loader.load(manifest.iloc[0].to_dict(), None) | {"labels": 0}])
    del batch["labels"]
    expected = audio_encoder(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = audio_encoder(**batch)
    assert all(torch.equal(encoded[name], expected[name]) for name in expected)


def test_cache_and_option_must_agree(parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path) -> None:
    """`cache: true` crops to the middle, `cache: false` at random."""
    with pytest.raises(UserError) as caught:
        run(system(parts, audio_encoder=CLIP), manifest, tmp_path)
    assert_names(str(caught.value), "`audio_encoder.cache` is true", "--features", SCRIPT.name)
    with pytest.raises(UserError) as caught:
        trained(system(parts, audio_encoder=NOT_CACHED), manifest, tmp_path, shards)
    assert_names(str(caught.value), "--features: ", "`audio_encoder.cache: false`")


@pytest.mark.slow
def test_random_beats_are_drawn_again_to_predict_without_the_cache(
    parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system(parts, {"checkpoint": None}, CLIP | RANDOM_BEATS, epochs=1)
    shards = cached(settings, manifest, tmp_path, shards=1)
    model = trained(settings, manifest, tmp_path / "run", shards)
    np.testing.assert_allclose(predicted(model, manifest), predicted(model, manifest, shards), atol=1e-4)
    speech_llm.build(settings.encoder, 8, CPU, False, shards)  # trainings with other seeds share the cached features


@pytest.fixture
def published(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file `main` in a cache of the hub with two commits of a Whisper; it contains the first commit."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub/models--somebody--whisper"
    for scale, commit in enumerate(COMMITS, start=1):
        shutil.copytree(parts / "whisper", repository / "snapshots" / commit)
        weights = repository / "snapshots" / commit / "model.safetensors"
        save_file({name: scale * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    main = repository / "refs/main"
    main.parent.mkdir()
    main.write_text(COMMITS[0])
    return main


@pytest.mark.slow
@pytest.mark.parametrize("cache", [False, True])
def test_a_published_whisper_is_pinned_to_its_commit(
    cache: bool, published: Path, parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system(parts, audio_encoder=NOT_CACHED | {"whisper": "somebody/whisper", "cache": cache}, epochs=1)
    shards = cached(settings, manifest, tmp_path, shards=1) if cache else []
    model = trained(settings, manifest, tmp_path / "run", shards)
    stored = files.read_json(model / "config.json")["settings"]["encoder"]["audio_encoder"]
    assert stored["revision"] == COMMITS[0] and stored["cache"] == cache
    before = predicted(model, manifest, shards)
    published.write_text(COMMITS[1])  # a new commit
    np.testing.assert_array_equal(predicted(model, manifest, shards), before)
    np.testing.assert_allclose(predicted(model, manifest), before, atol=1e-4)


def test_shards_of_different_commits_are_refused(
    published: Path, parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = settings_of(system(parts, audio_encoder=CLIP | {"whisper": "somebody/whisper"}))
    for commit in COMMITS:
        published.write_text(commit)
        extract(manifest.iloc[:1], settings, tmp_path / f"{commit[0]}.parquet")
    for commit in COMMITS:
        FeatureCache([tmp_path / f"{commit[0]}.parquet"], settings)
    with pytest.raises(UserError) as caught:
        FeatureCache([tmp_path / "a.parquet", tmp_path / "b.parquet"], settings)
    assert_names(str(caught.value), f"{tmp_path / 'b.parquet'}: ", "somebody/whisper", *COMMITS, SCRIPT.name)
    pinned = settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"revision": COMMITS[1]})})
    assert FeatureCache([tmp_path / "b.parquet"], pinned).revision == COMMITS[1]
    with pytest.raises(UserError) as caught:
        FeatureCache([tmp_path / "a.parquet"], pinned)
    assert_names(str(caught.value), f"{tmp_path / 'a.parquet'}: ", "somebody/whisper", *COMMITS, SCRIPT.name)


@pytest.mark.parametrize("part", ["beats.pt", "whisper"])
def test_a_model_that_has_changed_is_reported(part: str, parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(parts / "whisper", tmp_path / "whisper")
    shutil.copy(parts / "beats.pt", tmp_path)
    places = {"whisper": str(tmp_path / "whisper"), "beats": str(tmp_path / "beats.pt")}
    settings = settings_of(system(parts, audio_encoder=CLIP | places))
    extract(manifest.iloc[:1], settings, tmp_path / "0.parquet")
    FeatureCache([tmp_path / "0.parquet"], settings)
    if part == "whisper":
        weights = tmp_path / "whisper" / "model.safetensors"
        save_file({name: 2 * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    else:
        content = torch.load(tmp_path / part, weights_only=True)
        torch.save(content | {"model": {name: 2 * value for name, value in content["model"].items()}}, tmp_path / part)
    with pytest.raises(UserError) as caught:
        FeatureCache([tmp_path / "0.parquet"], settings)
    assert_names(str(caught.value), f"{tmp_path / '0.parquet'}: ", str(tmp_path / part), SCRIPT.name)


def test_a_random_whisper_is_refused() -> None:
    with pytest.raises(UserError, match="`whisper`: cannot be random"):
        parse(AudioEncoder, {"whisper": "random:whisper", "beats": "b.pt"}, where="audio_encoder")


def test_a_whisper_with_another_input_length_is_refused(parts: Path, tmp_path: Path) -> None:
    sizes = {"encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 1, "decoder_attention_heads": 2}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = WhisperConfig(d_model=64, encoder_layers=1, vocab_size=64, max_source_positions=500, **sizes, **special)
    WhisperModel(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    settings = system(
        parts, audio_encoder=NOT_CACHED | {"whisper": str(tmp_path), "max_seconds": 10.0}
    ).encoder.audio_encoder
    with pytest.raises(UserError) as caught:
        audio_encoders.build(settings)
    assert_names(str(caught.value), str(tmp_path), "10 s", "30 s", "`audio_encoder.whisper`")


def test_old_index_and_new_numbers_are_never_mixed(
    parts: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(system(parts, audio_encoder=CLIP))
    index = tmp_path / "0.parquet"
    extract(manifest.iloc[:2], settings, index)
    with pytest.raises(UserError, match=r"nowhere\.wav"):
        extract(manifest.iloc[:2].assign(path="nowhere.wav"), settings, index)
    FeatureCache([index], settings).load(manifest.iloc[1])  # nothing was replaced

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_parquet", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(manifest.iloc[:1], settings, index)
    assert not index.exists()


def test_half_precision_halves_the_disk_space(
    parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path
) -> None:
    half = cached(system(parts, audio_encoder=CLIP | {"precision": "fp16"}), manifest, tmp_path)
    whole = [path.with_suffix(".bin").stat().st_size for path in shards]
    assert [2 * path.with_suffix(".bin").stat().st_size for path in half] == whole


def test_systems_with_the_same_audio_encoder_share_a_key() -> None:
    def key(**changes: object) -> str:
        return SalmonnFeatures(family="salmonn", encoder=AudioEncoder(whisper="w", beats="b.pt", **changes)).key

    assert key() == key(cache=True, shards=9)
    assert len({key(), key(precision="fp16"), key(revision="a"), key(max_seconds=9.0)}) == 4
    settings = settings_json(SalmonnFeatures(family="salmonn", encoder=AudioEncoder(whisper="w", beats="b.pt")))
    assert '"shards"' not in settings and '"resources"' not in settings


@pytest.mark.slow
def test_script_writes_the_same_shard(parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path) -> None:
    schemas.write_manifest(manifest, tmp_path / "manifest.parquet")
    settings = settings_json(settings_of(system(parts, audio_encoder=CLIP)))
    arguments = ["--manifest", tmp_path / "manifest.parquet", "--settings", settings, "--shard", "1", "--shards", "2"]
    command = [SCRIPT, *arguments, "--cpus", "1"]
    done = running.python(*command, "--output", tmp_path / "1.parquet")
    assert done.returncode == 0, done.stderr
    assert schemas.read_parquet(tmp_path / "1.parquet", INDEX, tuple(INDEX.names)).equals(
        schemas.read_parquet(shards[1], INDEX, tuple(INDEX.names))
    )
    one, other = (np.fromfile(p.with_suffix(".bin"), np.float32) for p in (tmp_path / "1.parquet", shards[1]))
    np.testing.assert_allclose(one, other, atol=1e-5)
    refused = running.python(*command, "--shard", "2", "--output", tmp_path / "2")
    assert refused.returncode == 1
    assert_names(refused.stderr.rstrip(), "error: --shard: 2")


def test_cache_can_be_pickled_for_worker_processes(parts: Path, manifest: pd.DataFrame, shards: list[Path]) -> None:
    features = FeatureCache(shards, settings_of(system(parts, audio_encoder=CLIP)))
    name = manifest[schemas.KEY][0]
    before = features.load({schemas.KEY: name})
    again = pickle.loads(pickle.dumps(features)).load({schemas.KEY: name})
    assert all(torch.equal(before[kind], again[kind]) for kind in before)


def test_features_of_other_settings_are_refused(parts: Path, shards: list[Path]) -> None:
    other = settings_of(system(parts, audio_encoder=CLIP | {"max_seconds": 5.0}))
    with pytest.raises(UserError) as caught:
        FeatureCache(shards, other)
    assert_names(str(caught.value), f"{shards[0]}: ", "max_seconds 10.0", "5.0", SCRIPT.name)


def test_missing_features_are_reported(parts: Path, shards: list[Path]) -> None:
    features = FeatureCache(shards[:1], settings_of(system(parts, audio_encoder=CLIP)))
    with pytest.raises(UserError) as caught:
        features.load({schemas.KEY: "another.wav"})
    assert_names(str(caught.value), f"{shards[0]}: ", "another.wav", SCRIPT.name)


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_missing_or_truncated_numbers_are_reported(
    size: int | None, parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system(parts, audio_encoder=CLIP)
    (path,) = cached(settings, manifest, tmp_path, shards=1)
    numbers = path.with_suffix(".bin")
    if size is None:
        numbers.unlink()
    else:
        numbers.write_bytes(numbers.read_bytes()[:size])
    features = FeatureCache([path], settings_of(settings))
    with pytest.raises(UserError) as caught:
        for name in manifest[schemas.KEY]:
            features.load({schemas.KEY: name})
    assert_names(str(caught.value), f"{numbers}: {'truncated' if numbers.exists() else 'file not found'}", SCRIPT.name)
