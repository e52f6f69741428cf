"""Hypothesis draws the same examples on every machine, and a slow machine fails no test; no preflight unasked."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
os.environ.setdefault("ABHINAYA_PREFLIGHT", "off")  # for runs on a private cluster; its own tests ask for it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs of the workflow are slow, here and on a cluster."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] != "unit":
            item.add_marker(pytest.mark.slow)
