"""The checks of `make prove-gpu` fail if the device computes something else."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from prove_gpu import machinery, parity, systems

from abhinaya.config.system import TrainedSystem
from abhinaya.training.loop import Batch, Loop

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    return systems.write_clips(tmp_path / "clips", parity.SECONDS)


@pytest.fixture
def t2(tmp_path: Path) -> TrainedSystem:
    return systems.with_architecture(systems.paper_systems()["t2"], "tiny", tmp_path)


def test_another_weight_on_the_device(t2: TrainedSystem, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    made = systems.loop
    count = 0

    def loop(*arguments: object) -> Loop:
        nonlocal count
        built, count = made(*arguments), count + 1
        if count == 2:  # the first one is the CPU's
            built.classifier.fc.weight.data *= 1.001
        return built

    monkeypatch.setattr(systems, "loop", loop)
    statuses = [check.status for check in parity.compare("t2", t2, rows, CPU)]
    assert statuses == ["failed", "failed", "passed", "passed"]  # fp32, then bf16


def test_accumulation_by_the_mean_of_each_batch(
    t2: TrainedSystem, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Loop.train_step

    def wrong(self: Loop, batches: Iterator[Batch], count: int, utterances: int) -> None:
        step(self, batches, count, utterances // count)

    assert parity.accumulation("t2", t2, rows, CPU).status == "passed"
    monkeypatch.setattr(Loop, "train_step", wrong)
    assert parity.accumulation("t2", t2, rows, CPU).status == "failed"


def test_checkpointing_without_effect(t2: TrainedSystem, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machinery.checkpointing("t2", t2, rows, CPU)
    assert found.status == "passed" and found.figures["more_operations"] > 0.2
    monkeypatch.setattr("transformers.PreTrainedModel.gradient_checkpointing_enable", lambda *_: None)
    assert machinery.checkpointing("t2", t2, rows, CPU).message == "computes nothing again: it has no effect"
