"""Training with standardised, plain pooling of a frozen encoder: the statistics, their storage and resumption."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from abhinaya.config.system import Head
from abhinaya.data.dataset import Utterances
from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.training import loop, metrics, standardisation
from support.speech_corpus import Stop, assert_same, run, system, weights

PLAIN = {"pooling": "mean_std", "attention_init": 1.0}  # and the other defaults of a frozen encoder
SETTINGS = system({"model": "random:whisper", "freeze": "all"}, head=PLAIN)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plain(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(SETTINGS, manifest, tmp_path_factory.mktemp("plain"))


def test_statistics_are_those_of_the_training_split(plain: Path, manifest: pd.DataFrame) -> None:
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classifier, loader = checkpoint.build(SETTINGS, [1] * 8, 7, CPU)
    pooled = standardisation.pooled_vectors(classifier, Utterances(rows, loader), SETTINGS.training, 0)
    assert pooled.shape == (12, 32)
    stored = weights(plain)
    np.testing.assert_allclose(stored["standardisation.mean"], pooled.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stored["standardisation.scale"], pooled.std(0), rtol=1e-4)


def test_the_same_run_has_the_same_bytes(plain: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    assert_same(run(SETTINGS, manifest, tmp_path), plain)


def test_an_interrupted_run_has_the_same_bytes(
    plain: Path, manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = loop.Loop.train_epoch

    def interrupted(self: loop.Loop, epoch: int) -> None:
        if epoch == 1:
            raise Stop
        train_epoch(self, epoch)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(loop.Loop, "train_epoch", interrupted)
        run(SETTINGS, manifest, tmp_path)
    monkeypatch.setattr(standardisation, "fit", lambda *given: pytest.fail("the statistics were computed again"))
    assert_same(run(SETTINGS, manifest, tmp_path), plain)


def test_predictions_do_not_depend_on_the_batch(plain: Path, manifest: pd.DataFrame) -> None:
    together = predict.predict(plain, manifest, cpus=1).set_index("FileName").drop(columns=["Split", "EmoClass"])
    for name in ("test_00.wav", "validation_03.wav"):
        alone = predict.predict(plain, manifest[manifest["FileName"] == name], cpus=1)
        np.testing.assert_allclose(
            alone[together.columns].to_numpy(float)[0], together.loc[name].to_numpy(float), atol=1e-5
        )


def test_plain_pooling_covers_all_frames(plain: Path, finished: Path) -> None:
    coverages = [epoch["frame_coverage"] for epoch in files.read_json(plain / "metrics.json")["epochs"]]
    assert coverages == pytest.approx([1.0] * 3)
    attentive = [epoch["frame_coverage"] for epoch in files.read_json(finished / "metrics.json")["epochs"]]
    assert all(0 < coverage < 1 for coverage in attentive)


def test_narrow_attention_is_reported_once(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(metrics, "MIN_COVERAGE", 1.0)
    run(system(epochs=2), manifest, tmp_path)
    assert sum("warning" in line for line in "".join(capfd.readouterr()).splitlines()) == 1


@pytest.mark.parametrize(
    ("coverages", "warned"), [([0.5], False), ([0.05], True), ([0.5, 0.05], True), ([0.05, 0.04], False)]
)
def test_warning_of_low_coverage(coverages: list[float], warned: bool) -> None:
    assert bool(metrics.coverage_warning(coverages)) == warned


def test_a_checkpoint_with_a_head_needs_its_pooling() -> None:
    settings = SimpleNamespace(encoder=SimpleNamespace(checkpoint="st1.pth"), head=Head(pooling="mean_std"))
    with pytest.raises(UserError, match=r"head\.pooling"):
        checkpoint.load_head(None, {"fc.bias": torch.zeros(1)}, settings)
