"""One whole run of the test configuration, shared by the tests that look at it."""

from pathlib import Path

import pytest
from running import snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the whole test configuration ran."""
    directory = tmp_path_factory.mktemp("run")
    run = snakemake(directory)
    assert run.returncode == 0, run.stdout + run.stderr
    return directory
