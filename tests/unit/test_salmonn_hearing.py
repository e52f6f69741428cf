"""What the frozen half hears, kept on disk: the same numbers as on the fly, and every way it can be spoilt."""

import pickle
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pandas as pd
import pytest
import salmonn_parts
import torch
from safetensors.torch import load_file
from salmonn_parts import system
from speech_corpus import run

from abhinaya import model_folder, prediction, tables
from abhinaya.config import Hearing, SalmonnSystem, settings_json
from abhinaya.encoders.salmonn.hearing import INDEX, Heard, hear
from abhinaya.errors import UserError
from abhinaya.tables import PROBABILITIES
from abhinaya.training import train

CPU = torch.device("cpu")
CLIP = {"speech_window": "clip", "window": "clip", "cache": True}
SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "hear.py"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(parts: Path) -> pd.DataFrame:
    return salmonn_parts.make_manifest(parts)


def cached(settings: SalmonnSystem, manifest: pd.DataFrame, folder: Path, shards: int = 2) -> list[Path]:
    paths = []
    for shard in range(shards):
        paths.append(folder / f"{shard:03}.parquet")
        rows, exact = manifest.iloc[shard::shards], torch.autocast("cpu", enabled=False)
        hear(rows, settings.encoder.hearing, 7, paths[-1], CPU, 0, exact)
    return paths


@pytest.fixture(scope="module")
def shards(parts: Path, manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cached(system(parts, hearing=CLIP), manifest, tmp_path_factory.mktemp("heard"))


def test_golden_clips_are_heard_as_in_the_reference(parts: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Whisper's and BEATs' vectors, from the audio to the cache; Whisper's last 4 frames make no token."""
    rows = manifest.assign(clip=[Path(path).stem for path in manifest["path"]]).drop_duplicates("clip")
    settings = system(parts, hearing={"cache": True})
    heard = Heard(cached(settings, rows, tmp_path, shards=1), settings.encoder.hearing)
    expected = golden.arrays("salmonn")
    for name, clip in rows[rows["clip"].isin(("a", "b"))][[tables.KEY, "clip"]].itertuples(index=False):
        found = heard.load(name)
        np.testing.assert_allclose(found["heard"], expected[f"whisper_{clip}"][: 88 * 17], atol=1e-4)
        np.testing.assert_allclose(found["sounds"], expected[f"beats_{clip}"], atol=1e-4)


def test_cached_equals_uncached(parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path) -> None:
    """Clips below `max_seconds` are never cropped, so that training is the same, too."""
    settings, kept = system(parts, hearing=CLIP, head={"dropout": 0.0}), shards
    whole = run(settings, manifest, tmp_path / "uncached")
    checkpoints, model = tmp_path / "cached" / "checkpoints", tmp_path / "cached" / "model"
    train("tiny", settings, manifest, 7, checkpoints, model, cpus=1, heard=kept)
    names = load_file(whole / model_folder.WEIGHTS).keys()
    assert load_file(model / model_folder.WEIGHTS).keys() == names
    on_the_fly = prediction.predict(whole, manifest, cpus=1)[list(PROBABILITIES)]
    from_disk = prediction.predict(whole, manifest, cpus=1, heard=kept)[list(PROBABILITIES)]
    np.testing.assert_allclose(from_disk, on_the_fly, atol=1e-4)
    trained = prediction.predict(model, manifest, cpus=1)[list(PROBABILITIES)]
    np.testing.assert_allclose(trained, on_the_fly, atol=1e-2)


def test_half_precision_halves_the_disk(
    parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path
) -> None:
    half = cached(system(parts, hearing=CLIP | {"precision": "fp16"}), manifest, tmp_path)
    for kind in ("heard", "sounds"):
        whole = [path.with_suffix(f".{kind}.bin").stat().st_size for path in shards]
        assert [2 * path.with_suffix(f".{kind}.bin").stat().st_size for path in half] == whole


def test_systems_that_hear_alike_share_a_key() -> None:
    parts = {"whisper": "w", "beats": "b.pt"}
    assert Hearing(**parts).key == Hearing(**parts, cache=True, shards=9).key
    assert Hearing(**parts).key != Hearing(**parts, precision="fp16").key
    assert '"shards"' not in settings_json(Hearing(**parts)) and '"resources"' not in settings_json(Hearing(**parts))


@pytest.mark.process
def test_the_script_writes_the_same_shard(
    parts: Path, manifest: pd.DataFrame, shards: list[Path], tmp_path: Path
) -> None:
    tables.write_manifest(manifest, tmp_path / "manifest.parquet")
    settings = settings_json(system(parts, hearing=CLIP).encoder.hearing)
    arguments = ["--manifest", tmp_path / "manifest.parquet", "--settings", settings, "--shard", "1", "--shards", "2"]
    command = [sys.executable, SCRIPT, *arguments, "--seed", "7", "--cpus", "1"]
    done = subprocess.run([*command, "--output", tmp_path / "1.parquet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tables.read_parquet(tmp_path / "1.parquet", INDEX, tuple(INDEX.names)).equals(
        tables.read_parquet(shards[1], INDEX, tuple(INDEX.names))
    )
    for kind in ("heard", "sounds"):
        one, other = (
            np.fromfile(p.with_suffix(f".{kind}.bin"), np.float32) for p in (tmp_path / "1.parquet", shards[1])
        )
        np.testing.assert_allclose(one, other, atol=1e-5)
    refused = subprocess.run([*command, "--shard", "2", "--output", tmp_path / "2"], capture_output=True, text=True)
    assert refused.stderr == "error: --shard: 2, but there are 2, counted from 0\n"


def test_workers_map_the_files_for_themselves(parts: Path, manifest: pd.DataFrame, shards: list[Path]) -> None:
    heard = Heard(shards, system(parts, hearing=CLIP).encoder.hearing)
    name = manifest[tables.KEY][0]
    before = heard.load(name)
    again = pickle.loads(pickle.dumps(heard)).load(name)
    assert all(torch.equal(before[kind], again[kind]) for kind in before)


def test_what_was_heard_otherwise_is_refused(parts: Path, shards: list[Path]) -> None:
    other = system(parts, hearing=CLIP | {"max_seconds": 5.0}).encoder.hearing
    with pytest.raises(UserError, match=r"000.parquet: not heard as the settings say; make it again with hear.py"):
        Heard(shards, other)


def test_a_clip_that_was_not_heard(parts: Path, shards: list[Path]) -> None:
    heard = Heard(shards[:1], system(parts, hearing=CLIP).encoder.hearing)
    with pytest.raises(UserError, match="was not heard; make the cache again"):
        heard.load("another.wav")


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_numbers_that_are_gone_or_cut_off(
    size: int | None, parts: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    settings = system(parts, hearing=CLIP)
    (path,) = cached(settings, manifest, tmp_path, shards=1)
    numbers = path.with_suffix(".sounds.bin")
    if size is None:
        numbers.unlink()
    else:
        numbers.write_bytes(numbers.read_bytes()[:size])
    heard = Heard([path], settings.encoder.hearing)
    with pytest.raises(UserError, match=rf"{path.stem}.sounds.bin: (no such file, or empty|cut off)"):
        for name in manifest[tables.KEY]:
            heard.load(name)
