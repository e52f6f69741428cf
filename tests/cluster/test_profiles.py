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

from abhinaya.runtime import gpu_request
from abhinaya.runtime.gpu_request import Site
from support.running import ROOT

PROFILE = "profiles/slurm/config.v9+.yaml"
USES_GPUS = {
    rule
    for file in (ROOT / "rules").glob("*.smk")
    for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", file.read_text(), re.MULTILINE)
    if re.search(r"^ {8}\*\*gpu_resources\(", body, re.MULTILINE)
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


NVIDIA_SMI = """#!/bin/sh
echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)"
echo "  MIG 1g.10gb     Device  0: (UUID: MIG-cccc)"
echo "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)"
"""


@pytest.mark.parametrize(
    ("driver", "visible", "gpus"), [(True, None, 2), (True, "1", 1), (True, "", 0), (False, None, 0), (False, "0,2", 2)]
)
def test_one_machine_gives_all_its_cores_memory_and_gpus(
    options: object, driver: bool, visible: str | None, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driver:
        (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    alone = options(ROOT)
    assert alone.cores and alone.executor is None
    assert {name: limit.value for name, limit in alone.resources.items()} == {
        "gpu": gpus,
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
    site = {
        "account": "speech",
        "qos": "long",
        "gpu_model": "nvidia_a100-sxm4-80gb",
        "gpu_constraint": "a100|h100",
        "cpu_constraint": "skylake",
        "extra": "--exclude=n[1-2] --nice=10",
        "setup": "module load CUDA",
    }
    for key, value in site.items():
        assert text.count(f'{key}: ""') == 1
        text = text.replace(f'{key}: ""', f'{key}: "{value}"')
    text = text.replace("gpu_request: gpus", "gpu_request: gres")
    (tmp_path / "slurm" / Path(PROFILE).name).write_text(text)
    parsed = options(tmp_path, "--profile", "slurm")
    every_job = {"slurm_account=speech", "slurm_extra='--exclude=n[1-2] --nice=10'", "constraint='skylake'"}
    assert every_job <= {*parsed.default_resources.args}
    assert (parsed.slurm_qos, parsed.precommand) == ("long", "module load CUDA")
    read, train_options = gpu_request.read(parsed.default_resources)
    assert read == Site("gres", "nvidia_a100-sxm4-80gb", "a100|h100", "skylake", "--exclude=n[1-2] --nice=10")
    assert train_options == "--signal=TERM@120"


def test_every_rule_that_can_use_gpus_follows_the_site() -> None:
    assert {"transcribe", "extract_features", "train", "predict", "label_zero_shot"} <= USES_GPUS
    for file in (ROOT / "rules").glob("*.smk"):
        assert not re.search(r"^ {8}(gpu|gres|gpu_model)=", file.read_text(), re.MULTILINE), file
