"""docs/cluster.md has the run times that benchmarks/plan.py computes from config/paper.yaml."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya import config

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "benchmarks" / "plan.py"
SPEC = importlib.util.spec_from_file_location("plan", SCRIPT)
plan = importlib.util.module_from_spec(SPEC)
sys.modules["plan"] = plan
SPEC.loader.exec_module(plan)
PAPER = config.load(ROOT / "config" / "paper.yaml")


def test_the_page_has_the_computed_rows() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    found = [line for line in page.splitlines() if line.startswith(("| train ", "| target ", "| two more "))]
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts")},
        capture_output=True,
        text=True,
    )
    printed = done.stdout
    assert done.returncode == 0, done.stderr
    rows, _, sentence = printed.strip().partition("\n\n")
    assert found == rows.splitlines()
    assert sentence.split(": ")[1].removesuffix(".") in " ".join(page.split())


def with_batch(name: str, size: int, checkpointing: bool = False) -> object:
    training = {"batch_size": size, "gradient_checkpointing": checkpointing}
    system = PAPER.systems[name]
    return system.model_copy(update={"training": system.training.model_copy(update=training)})


@pytest.mark.parametrize(("name", "tflop"), [("s1", 3 * 0.19 + 0.03), ("t2", 2 * 0.35), ("s2", 2 * 3.3 + 2.35)])
def test_a_large_batch_takes_the_gpus_time(name: str, tflop: float) -> None:
    """On a slow GPU the CPU's part vanishes."""
    operations = 66_977 * 20 * tflop
    assert plan.hours(with_batch(name, 32), speed=1) == pytest.approx(operations / 3600)


@pytest.mark.parametrize("name", ["s1", "t2", "s2", "st1"])
def test_a_small_batch_takes_the_cpus_time(name: str) -> None:
    small, large = (plan.hours(with_batch(name, size), speed=1e9) for size in (4, 8))
    assert small == pytest.approx(2 * large)
    assert plan.hours(with_batch(name, 4, checkpointing=True), speed=1e9) == pytest.approx(1.5 * small)


def test_a_cache_saves_the_audio_encoders_in_all_epochs_but_one() -> None:
    system = with_batch("s2", 32)
    saved = plan.hours(system, 1) - plan.hours(system, 1, cached=True)
    assert saved == pytest.approx(66_977 * 19 * 2.35 / 3600)
