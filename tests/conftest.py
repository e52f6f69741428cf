"""Settings of all tests: the same Hypothesis examples on every machine, no preflight by default, slow files first."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
for line in (Path(__file__).parents[1] / "envs" / "settings.env").read_text().splitlines():
    if line and not line.startswith("#"):
        os.environ.setdefault(*line.split("=", 1))
os.environ.setdefault("ABHINAYA_PREFLIGHT", "off")  # for runs on a private cluster; tests of preflight turn it on
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background; jobs that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whole runs as slow, and start with the slowest files, so that no process is alone with one at the end."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] != "unit":
            item.add_marker(pytest.mark.slow)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
