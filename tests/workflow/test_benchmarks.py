"""The benchmarks still run and compare like with like; no speed is asserted here."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from abhinaya.config import load
from abhinaya.config.features import SalmonnFeatures
from abhinaya.config.system import AudioEncoder
from support import preloaded
from support.chat_server import ChatServer, Reply
from support.flavour import require_vllm_on_cpus
from support.running import ROOT, TEST_CONFIG
from support.small_salmonn import SMALL_SALMONN


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [preloaded.python(), ROOT / "benchmarks" / name, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts")},
        check=False,
    )


def test_transcription(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    done = run("transcription.py", "--clips", "3", "--repeats", "1", "--output", output)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["clips"] == 3
    assert "WER after Whisper's English normaliser" in done.stdout
    assert list(found["ways"]) == ["clip", "full", "single"]
    for way, values in found["ways"].items():
        assert way in done.stdout
        assert values["clips_per_second"] == pytest.approx(3 / values["seconds"][0])
        assert values["word_error_rate"] < 0.5
    assert found["ways"]["single"]["ratio"] == 1


def test_training_step(tmp_path: Path) -> None:
    """All systems compute the same in both ways, with less padding in ours."""
    output = tmp_path / "found.json"
    small = ("--utterances", "400", "--steps", "1", "--repeats", "1", "--hidden", "64", "--layers", "2")
    done = run("training_step.py", *small, "--output", output)
    assert done.returncode == 0, done.stderr
    systems = json.loads(output.read_text())["systems"]
    assert list(systems) == ["s1", "t2", "st1"]
    for found in systems.values():
        assert found["logit_difference"] < 1e-4
        ours, plain = found["ways"]["ours"], found["ways"]["plain"]
        assert found["ratio"] == pytest.approx(plain["seconds_per_utterance"] / ours["seconds_per_utterance"])
        assert ours["padding"] < plain["padding"] < 1


def test_a_manifest_needs_its_references(tmp_path: Path) -> None:
    done = run("transcription.py", "--manifest", tmp_path / "manifest.parquet")
    assert done.returncode == 1
    assert done.stderr == "error: --manifest: add --references, which the word error rate needs\n"


def test_labelling(tmp_path: Path) -> None:
    require_vllm_on_cpus()
    output = tmp_path / "found.json"
    done = run("labelling.py", "--transcripts", "6", "--repeats", "1", "--concurrency", "3", "--output", output)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert list(found["ways"]) == ["together", "one by one"]
    assert found["ways"]["one by one"]["ratio"] == 1
    for values in found["ways"].values():
        assert values["cpu_seconds_per_label"]["server"] > values["cpu_seconds_per_label"]["client"] > 0
    assert 1 <= found["generated_tokens_per_label"] <= 16  # a word is a few tokens, and nothing follows it
    assert found["server"]["kind"] == "vllm" and found["server"]["peak_memory_mb"] > 500


def test_labelling_by_an_endpoint(tmp_path: Path) -> None:
    """With the prompt of the configuration; no server is started, so no start-up time is printed."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    with ChatServer(lambda request: Reply("happy")) as server:
        settings["systems"]["t1"] = {
            "family": "zero_shot",
            "model": "tested",
            "prompt": {"mode": "word", "system": "MY OWN"},
            "endpoint": {"url": server.url},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        options = ("--config", tmp_path / "config.yaml", "--transcripts", "4", "--repeats", "1")
        done = run("labelling.py", *options, "--output", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    assert {request.body["messages"][0]["content"] for request in server.received} == {"MY OWN"}
    assert "2.00 tokens generated per label" in done.stdout and "server:" not in done.stdout
    for values in json.loads((tmp_path / "found.json").read_text())["ways"].values():
        assert list(values["cpu_seconds_per_label"]) == ["client"]


def test_an_unknown_zero_shot_system(tmp_path: Path) -> None:
    done = run("labelling.py", "--system", "s1")
    assert done.returncode == 1
    assert done.stderr.endswith("config.yaml: no zero-shot system 's1'; name one with --system\n")


def test_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two small systems, one of them with two of the four settings of a speech LLM."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    systems = importlib.import_module("systems")
    output, config = tmp_path / "found.json", tmp_path / "config.yaml"
    settings = yaml.safe_load(TEST_CONFIG.read_text(encoding="utf-8"))
    st1 = settings["systems"]["t2"] | {"family": "salmonn", "encoder": SMALL_SALMONN | {"transcript": True}}
    settings |= {"systems": {"baseline": settings["systems"]["baseline"], "st1": st1}, "ensembles": {}, "tables": {}}
    config.write_text(yaml.safe_dump(settings))
    all_ways = list(systems.ways(load(config).systems["st1"]))
    assert all_ways == [f"{window}, {how}" for window in ("full", "clip") for how in ("on the fly", "cached")]
    measured = ("", "full, cached", "clip, on the fly")
    ways = systems.ways
    monkeypatch.setattr(systems, "ways", lambda one: {way: it for way, it in ways(one).items() if way in measured})
    small = ("--clips", "8", "--epochs", "1", "--shortest", "1", "--longest", "2")
    monkeypatch.setattr(sys, "executable", str(preloaded.python()))
    monkeypatch.setattr(sys, "argv", ["systems.py", "--config", str(config), *small, "--output", str(output)])
    systems.main()
    found, printed = json.loads(output.read_text())["ways"], capsys.readouterr().out
    assert list(found) == ["baseline", "st1 full, cached", "st1 clip, on the fly"]
    for way, values in found.items():
        assert f"{way} " in printed
        assert values["utterances_per_second"] == pytest.approx(8 / values["seconds_per_step"])  # one step of eight
        assert ("stored_mb_per_clip" in values) == ("cached" in way)
    megabytes = found["st1 full, cached"]["stored_mb_per_clip"]
    assert megabytes == pytest.approx(88 * 17 * 384 * 2 / 1e6, rel=0.05)  # fp16, almost all of it Whisper's vectors


def test_extraction_time_excludes_the_start_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes 100 s to start and 2 s a clip."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    systems = importlib.import_module("systems")
    clock = [0.0]

    def extract_features(name: str, corpus: Path, options: SimpleNamespace, *more: object) -> None:
        assert name == "extract_features.py"
        given = dict(zip(more[::2], more[1::2], strict=True))
        clips = options.clips + len(systems.CLASSES)
        assert int(given.get("--shard", 0)) == 0 and int(given.get("--shards", 1)) in (1, clips)
        clock[0] += 100 + 2 * clips / int(given.get("--shards", 1))
        Path(given["--output"]).with_suffix(".bin").write_bytes(bytes(1000 * clips))

    monkeypatch.setattr(systems, "script", extract_features)
    monkeypatch.setattr(systems.time, "perf_counter", lambda: clock[0])
    settings = SalmonnFeatures(family="salmonn", encoder=AudioEncoder(whisper="w", beats="b.pt"))
    found = systems.extract_features(settings, tmp_path, tmp_path / "features.parquet", SimpleNamespace(clips=8))
    assert found == {"extraction_seconds_per_clip": 2.0, "stored_mb_per_clip": 0.001}


def test_a_system_without_training(tmp_path: Path) -> None:
    done = run("systems.py", "--systems", "t1")
    assert done.returncode == 1
    assert done.stderr.endswith("config.yaml: no trained system 't1'; choose from baseline, s1, t2, s2, st1\n")
