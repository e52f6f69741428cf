"""One whole run of the test configuration, shared by the tests that look at it, in whatever process they run."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from support.flavour import require_vllm_on_cpus
from support.running import snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory in which the whole test configuration ran; each process of pytest-xdist has its own copy."""
    require_vllm_on_cpus()
    own = tmp_path_factory.mktemp("finished") / "run"
    if worker_id == "master":
        run_in(own)
        return own
    shared = tmp_path_factory.getbasetemp().parent / "finished"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            run_in(shared)
    return Path(shutil.copytree(shared, own, symlinks=True))


def run_in(directory: Path) -> None:
    run = snakemake(directory)
    assert run.returncode == 0, run.stdout + run.stderr
