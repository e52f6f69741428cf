"""Fixtures of the tests of the paper's tables; made once, since they take seconds."""

from pathlib import Path

import pytest

from abhinaya.reporting import paper as tables
from support.paper_parts import arguments, make_score_files, run_script


@pytest.fixture(scope="session")
def score_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scores of systems of different skill, as from score.py, and a corpus's summary."""
    return make_score_files(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="session")
def tables_folder(score_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tables, written by the script."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for table in tables.TABLES:
            run_script(monkeypatch, arguments(score_files, table, folder))
    return folder
