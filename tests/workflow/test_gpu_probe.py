"""The job that checks a GPU node: it comes before GPU jobs, and its presence never makes a result again."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from support.running import ROOT, TEST_CONFIG, planned, snakemake

GPU_RULES = {"transcribe", "extract_features", "train", "predict", "label_zero_shot"}
S1 = "results/s1/preds.csv"
PROBE = "results/preflight/gpu_node.json"


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABHINAYA_PREFLIGHT", "on")


def configured(folder: Path, change: Callable[[dict], None]) -> Path:
    """The test configuration with a change."""
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    change(settings)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def with_gpus(settings: dict) -> None:
    for section in (settings["transcripts"], *settings["systems"].values()):
        section["resources"]["gpu"] = 1


def arrows(run: subprocess.CompletedProcess) -> dict[str, set[str]]:
    """Rule -> the rules that wait for it, from the graph that `--rulegraph` prints."""
    assert run.returncode == 0, run.stderr
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', run.stdout, re.MULTILINE))
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for first, second in re.findall(r"^\s*(\d+) -> (\d+)$", run.stdout, re.MULTILINE):
        found[names[first]].add(names[second])
    return found


@pytest.mark.parametrize("name", ["config/paper.yaml", "gpus"])
def test_all_gpu_jobs_wait_for_the_probe(name: str, tmp_path: Path) -> None:
    config = configured(tmp_path, with_gpus) if name == "gpus" else ROOT / name
    waiting = arrows(snakemake(tmp_path, "all", "--rulegraph", configfile=config))["probe_gpu"]
    assert waiting == (GPU_RULES if name == "gpus" else GPU_RULES - {"extract_features"})


@pytest.mark.parametrize("name", ["config.yaml", "config/test.yaml", "config/ravdess.yaml"])
def test_no_probe_without_a_gpu(name: str, tmp_path: Path) -> None:
    assert "probe_gpu" not in planned(snakemake(tmp_path, "-n", "all", configfile=ROOT / name))


def test_the_probe_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABHINAYA_PREFLIGHT", "off")
    assert "probe_gpu" not in planned(snakemake(tmp_path, "-n", configfile=configured(tmp_path, with_gpus)))


def no_gpu_for_t1(settings: dict) -> None:
    with_gpus(settings)
    settings["systems"]["t1"]["resources"]["gpu"] = 0


def transcripts_of_the_corpus(settings: dict) -> None:
    with_gpus(settings)
    settings["transcripts"] = {"source": "corpus"}


@pytest.mark.parametrize(
    ("change", "work"),
    [(with_gpus, "whisperx vllm"), (no_gpu_for_t1, "whisperx"), (transcripts_of_the_corpus, "vllm")],
)
def test_the_probe_checks_what_the_configuration_needs(change: Callable, work: str, tmp_path: Path) -> None:
    run = snakemake(tmp_path, "-n", "--printshellcmds", PROBE, configfile=configured(tmp_path, change))
    assert planned(run) == {"probe_gpu": 1, "total": 1}
    assert f"/doctor.py --work {work} --output {PROBE} " in run.stdout + run.stderr


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run on the CPU."""
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


def test_finished_results_are_not_made_again(made: Path) -> None:
    config = configured(made, with_gpus)
    assert planned(snakemake(made, "-n", S1, configfile=config)) == {}
    (made / S1).unlink()
    assert planned(snakemake(made, "-n", S1, configfile=config)) == {"probe_gpu": 1, "predict": 1, "total": 2}


def test_a_node_is_checked_once(made: Path) -> None:
    (made / S1).unlink()
    (made / PROBE).parent.mkdir()
    (made / PROBE).touch()
    config = configured(made, with_gpus)
    assert snakemake(made, PROBE, "--touch", "--resources", "gpu=1", configfile=config).returncode == 0
    assert planned(snakemake(made, "-n", S1, configfile=config)) == {"predict": 1, "total": 1}


def test_changed_settings_are_noticed(made: Path) -> None:
    """Snakemake does not compare the settings of a job that waits for a checkpoint."""

    def change(settings: dict) -> None:
        with_gpus(settings)
        settings["systems"]["s1"]["loss"]["gamma"] = 1.0

    jobs = planned(snakemake(made, "-n", S1, configfile=configured(made, change)))
    assert (jobs["train"], jobs["predict"]) == (1, 1)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_failed_probe_stops_the_jobs_that_wait(made: Path) -> None:
    (made / S1).unlink()

    def change(settings: dict) -> None:
        with_gpus(settings)
        settings["transcripts"] = {"source": "corpus"}
        settings["systems"] = {"s1": settings["systems"]["s1"]}
        settings |= {"ensembles": {}, "tables": {}}

    run = snakemake(made, S1, "--resources", "gpu=1", configfile=configured(made, change))
    output = run.stdout + run.stderr
    assert run.returncode != 0 and "Predicting with s1" not in output
    assert re.search(r"^error  driver: .*; ", output, re.MULTILINE)
    assert "doctor: 5 errors; fix them, or use another node" in output
    assert not (made / PROBE).exists()
