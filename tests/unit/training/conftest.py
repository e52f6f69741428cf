"""A speech corpus, and a complete training on it."""

from pathlib import Path

import pandas as pd
import pytest

from support.speech_corpus import make_manifest, run, system


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return make_manifest(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def finished(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training without interruption."""
    return run(system(), manifest, tmp_path_factory.mktemp("finished"))
