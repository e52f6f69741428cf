"""The profiles as Snakemake reads them; nothing is run."""

import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import psutil
import pytest
from snakemake.cli import parse_args

from support.running import ROOT

PROFILE = "profiles/slurm/config.v9+.yaml"
USES_GPUS = {
    rule
    for file in (ROOT / "rules").glob("*.smk")
    for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), re.MULTILINE)
    if re.search(r"^ {8}gpu=", body, re.MULTILINE)
}


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> object:
    """What Snakemake takes from the profiles, started in a folder with arguments."""

    def parsed(folder: Path, *arguments: str) -> Namespace:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["snakemake", *arguments])
        return parse_args(list(arguments))[1]

    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return parsed


def test_one_machine_gives_all_its_cores_and_its_memory_and_gpus_in_turn(options: object) -> None:
    alone = options(ROOT)
    assert alone.cores and alone.executor is None
    assert {name: limit.value for name, limit in alone.resources.items()} == {
        "gpu_jobs": 1,
        "mem_mb": psutil.virtual_memory().total // 1_000_000,
    }


@pytest.mark.parametrize("words", [["--profile", "slurm"], ["--profile=profiles/slurm"]])
def test_the_cluster_is_not_held_to_the_limits_of_one_machine(options: object, words: list[str]) -> None:
    cluster = options(ROOT, *words)
    assert (cluster.executor, cluster.cores, cluster.jobs, cluster.retries) == ("slurm", None, 100, 2)
    assert {name: limit.value for name, limit in cluster.resources.items()} == {"turns": 1}


@pytest.mark.parametrize("there", [True, False])
def test_the_efficiency_report_is_asked_for_where_there_is_accounting(
    options: object, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/sacct" if there and name == "sacct" else None)
    assert (options(ROOT, "--profile", "slurm").slurm_efficiency_report is True) == there


@pytest.mark.parametrize("name", ["slurm", "profiles/slurm"])
def test_the_cluster_runs_the_papers_configuration(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--profile", name, "all", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (config,) = re.findall(r"Config file\(s\): \[PosixPath\('(.*)'\)\]", done.stdout + done.stderr)
    assert Path(config).resolve() == ROOT / "config/paper.yaml"


def test_a_site_is_told_in_one_place(options: object, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").touch()
    (tmp_path / "slurm").mkdir()
    text = (ROOT / PROFILE).read_text()
    site = {"account": "speech", "qos": "long", "gpu_model": "a100", "setup": "module load CUDA"}
    for key, value in site.items():
        assert text.count(f'{key}: ""') == 1
        text = text.replace(f'{key}: ""', f"{key}: {value}")
    (tmp_path / "slurm" / Path(PROFILE).name).write_text(text)
    parsed = options(tmp_path, "--profile", "slurm")
    assert "slurm_account=speech" in parsed.default_resources.args
    assert (parsed.slurm_qos, parsed.precommand) == ("long", "module load CUDA")
    models = {
        rule: resources["gpu_model"].raw for rule, resources in parsed.set_resources.items() if "gpu_model" in resources
    }
    assert USES_GPUS and models == dict.fromkeys(USES_GPUS, "a100")
