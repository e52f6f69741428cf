"""`make prove-gpu` runs its parts apart: a failed, missing or crashed one is a line, and the others run."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from prove_gpu import __main__ as command
from prove_gpu import parity, run_part
from prove_gpu.arguments import ROOT, Options
from prove_gpu.checks import Check, at_least, at_most

from abhinaya.runtime.errors import UserError

TINY = Options("cpu", "tiny", cpus=1, steps=1, warm_up=1)


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A part named `made_up`; a test gives it `run`."""
    module = ModuleType("prove_gpu.made_up")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module


def test_checks_before_an_exception_are_kept(part: ModuleType) -> None:
    def run(options: Options) -> Iterator[Check]:
        yield Check("first", "passed", "well")
        raise ValueError("it\nbroke")

    part.run = run
    first, second = run_part.checks("made_up", TINY)
    assert first == Check("first", "passed", "well")
    assert second == Check("end", "failed", "ValueError: it broke")


def test_a_part_without_its_package_is_skipped(part: ModuleType) -> None:
    def run(options: Options) -> Iterator[Check]:
        raise ModuleNotFoundError("No module named 'ctranslate2.models'", name="ctranslate2.models")
        yield

    part.run = run
    assert list(run_part.checks("made_up", TINY)) == [Check("packages", "skipped", "ctranslate2 is not installed")]


def test_a_missing_module_of_our_own_is_an_error(part: ModuleType) -> None:
    def run(options: Options) -> Iterator[Check]:
        raise ModuleNotFoundError("No module named 'abhinaya.lost'", name="abhinaya.lost")
        yield

    part.run = run
    with pytest.raises(ModuleNotFoundError, match="lost"):
        list(run_part.checks("made_up", TINY))


@pytest.mark.parametrize(
    ("status", "seconds", "has_checks", "expected"),
    [
        (0, 1, True, None),
        (0, 1, False, "no check was made"),
        (1, 1, True, "exit status 1"),
        (-11, 1, True, "ended by SIGSEGV"),
        (-15, 60, True, "not finished after 60 s"),
    ],
)
def test_why_a_part_ended(status: int, seconds: float, has_checks: bool, expected: str | None) -> None:
    assert command.reason(status, seconds, 60, has_checks) == expected


def test_real_shapes_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="add --shapes tiny"):
        command.check_device(Options("cpu", "real", 1, 1, 1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU"):
        command.check_device(Options("cuda", "real", 1, 1, 1))


def test_a_limit_fails_above_it_and_for_nan() -> None:
    assert at_most("a", "differs by", 1e-5, 1e-4).status == "passed"
    assert at_most("a", "differs by", 1e-3, 1e-4).status == "failed"
    assert at_most("a", "differs by", math.nan, 1e-4).status == "failed"
    assert at_least("a", "cosine", 0.995, 0.99).status == "passed"
    assert at_least("a", "cosine", 0.98, 0.99).status == "failed"
    assert at_least("a", "cosine", math.nan, 0.99).status == "failed"


def test_gradients_are_compared_by_part() -> None:
    """A wrong small gradient is not hidden by a right large one."""
    right = {"head": torch.ones(1000), "encoder.model": torch.full((2,), 1e-3)}
    wrong = right | {"encoder.model": torch.tensor([1e-3, -1e-3])}
    assert parity.worst(parity.difference, right, right) == 0
    assert parity.worst(parity.difference, wrong, right) == pytest.approx(math.sqrt(2))
    assert parity.worst(parity.cosine, wrong, right) == pytest.approx(0)
    assert math.isnan(parity.worst(parity.cosine, {"head": right["head"]}, right))


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("workflow_scripts", "benchmarks"))
    options = ("--device", "cpu", "--shapes", "tiny", "--part-seconds", "1", "--output", output)
    done = subprocess.run(
        [sys.executable, "-m", "prove_gpu", *options, "--parts", "parity", "machinery"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(output.read_text())["checks"]
    assert [check["part"] for check in found] == ["parity", "machinery"]
    assert all("not finished after 1 s" in check["message"] for check in found)
