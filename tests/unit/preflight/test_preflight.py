"""Preflight's checks of the corpus, packages and endpoints, each with a valid and an invalid case."""

import shutil
import socket
from pathlib import Path

import pytest
import torch

from abhinaya.config.zero_shot import Endpoint
from abhinaya.data.corpora import espeak
from abhinaya.preflight import endpoint, packages
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.vllm_args import is_for_gpus
from support import msp_layout
from support.preflight_parts import configured, findings, planned, table

PREPARE = planned(("prepare_corpus", {}))


def test_complete_corpus_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    well, wrong = findings(configured(table(tmp_path)), PREPARE)
    assert wrong == []
    assert well == ["jobs: 1 to run", "corpus: 12 utterances in the labels, 12 audio files found, 12 used"]


def test_missing_audio_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = table(tmp_path, present=11)
    assert findings(configured(corpus), PREPARE)[1] == [
        f"corpus: 1 of 12 audio files are missing, e.g. {tmp_path}/11.wav; add them, or increase corpus.max_rejected"
    ]
    well, wrong = findings(configured(corpus | {"max_rejected": 0.1}), PREPARE)
    assert (well[1], wrong) == (
        "corpus: 12 utterances in the labels, 11 audio files found, 1 missing, 11 used",
        [],
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "nowhere.csv"}, "not found"),
        ({"classes": ["A", "N", "H", "S", "F"]}, "no training utterance is F"),
        ({"validation": {"per_class": 9}}, "class A (angry) has 1 development utterances but 9"),
    ],
)
def test_invalid_corpus_is_reported(change: dict, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = findings(configured(table(tmp_path) | change), PREPARE)[1]
    assert words in line


def test_msp_podcast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    msp_layout.write(tmp_path / "msp")
    corpus = {"kind": "msp_podcast", "root": str(tmp_path / "msp")}
    well, wrong = findings(configured(corpus), PREPARE)
    assert wrong == [] and "utterances in the labels" in well[1]
    shutil.rmtree(next(path for path in (tmp_path / "msp").iterdir() if path.name.startswith("Audio")))
    (line,) = findings(configured(corpus), PREPARE)[1]
    assert "Audios or Audio" in line


def test_synthetic_corpus_needs_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = configured({"kind": "synthetic"})
    assert findings(config, PREPARE) == (["jobs: 1 to run", "corpus: synthetic, 640 utterances to generate"], [])

    def check() -> None:
        raise UserError(f"eSpeak NG: no usable voices; {espeak.FIX}")

    monkeypatch.setattr(espeak, "check", check)
    assert findings(config, PREPARE)[1] == [f"corpus: eSpeak NG: no usable voices; {espeak.FIX}"]


def test_torch_build_must_fit_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert packages.torch("gpu", on_gpus=False).startswith("torch ")
    with pytest.raises(UserError, match=r"CPU build.*make env FLAVOUR=gpu"):
        packages.torch("gpu", on_gpus=True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert packages.torch("gpu", on_gpus=True).startswith("torch ")


@pytest.mark.parametrize("build", [True, False])
def test_vllm_build_must_fit_the_jobs(build: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.vllm(is_for_gpus()).startswith("vLLM")
    monkeypatch.setattr(packages, "is_for_gpus", lambda: build)
    assert packages.vllm(build).startswith("vLLM")
    with pytest.raises(UserError, match="vLLM: the installed version"):
        packages.vllm(not build)


def test_a_planned_check_of_the_gpu_node_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = configured(table(tmp_path))
    plan = planned(("prepare_corpus", {}), ("probe_gpu", {}))
    assert findings(config, plan)[0][1].startswith("GPU node: checked by the job probe_gpu")


def test_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "whisperx" else name)
    with pytest.raises(UserError, match=r"^whisperx: not installed.*make env"):
        packages.whisperx()


def test_endpoint_must_be_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert endpoint.check(Endpoint(url=url)) == f"{url} is reachable"
        with pytest.raises(UserError, match="UNSET_KEY is not set"):
            endpoint.check(Endpoint(url=url, key_variable="UNSET_KEY"))
    with pytest.raises(UserError, match="connection failed"):
        endpoint.check(Endpoint(url=url))
