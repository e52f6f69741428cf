"""A private SLURM for the tests of this folder, and one run of everything through it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster_runs import SCRIPT, Cluster, Run

from support import preloaded
from support.flavour import require_vllm_on_cpus
from support.running import ROOT

PARTS = ("Snakefile", "config", "config.yaml", "envs", "profiles", "rules", "slurm", "workflow_scripts")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM of the tests' own; slurm.sh describes its nodes and partitions."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for the paths of sockets are limited
    up = subprocess.run(["sh", SCRIPT, "up", str(folder)], capture_output=True, text=True)
    cluster = Cluster(folder)
    try:
        assert up.returncode == 0, up.stderr
        yield cluster
    finally:
        for run in cluster.runs:  # of a test that gave up waiting
            run.process.kill()
        subprocess.run(["sh", SCRIPT, "down", str(folder)], check=True)
        shutil.rmtree(folder)


def copied(folder: Path) -> Path:
    """A checkout of this project in `folder`."""
    checkout = folder / "checkout"
    checkout.mkdir()
    subprocess.run(["cp", "--recursive", "--no-dereference", *PARTS, str(checkout)], cwd=ROOT, check=True)
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout in which nothing ran."""
    return copied(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A checkout in which every rule of the test configuration ran through SLURM, and that run."""
    require_vllm_on_cpus()
    checkout = copied(tmp_path_factory.mktemp("all"))
    config = checkout / "config/test.yaml"
    settings = yaml.safe_load(config.read_text())
    del settings["systems"]["t2"], settings["tables"]["combinations"]  # no rule of their own
    settings["ensembles"]["vote"]["members"].remove("t2")
    config.write_text(yaml.safe_dump(settings))
    path = os.pathsep.join([str(preloaded.python().parent), cluster.environment["PATH"]])
    run = cluster.snakemake(checkout, "all", python=str(preloaded.python()), PATH=path)
    assert run.process.returncode == 0, run.text
    return checkout, run


@pytest.fixture
def checkout(undisturbed: tuple[Path, Run], tmp_path: Path) -> Path:
    """A copy of the finished checkout, for a test to take something away from."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "checkout", symlinks=True))
