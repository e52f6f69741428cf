"""FSDP: each process has a shard of the frozen weights; results do not change."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from abhinaya import config
from abhinaya.config.system import Trained
from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.training import fsdp
from abhinaya.training.resume import fingerprint
from support import running, salmonn_parts, text_corpus
from support.messages import assert_names
from support.speech_corpus import run

SHARING = running.ROOT / "tests" / "support" / "sharing.py"
SHARED = ("text/shared", "text/recomputed", "text/resumed", "salmonn/recomputed")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    salmonn_parts.save(folder)  # contains a LLaMA, which text systems use, too
    return folder


@pytest.fixture(scope="module")
def runs(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs in two processes."""
    folder = tmp_path_factory.mktemp("runs")
    names = sorted(("text/whole", "salmonn/whole", *SHARED), reverse=True)  # grouped by family
    done = running.python(SHARING, str(models), str(folder), *names, processes=2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_sharded_weights_have_the_same_result(name: str, runs: Path) -> None:
    shared, whole = runs / name / "model", (runs / name).with_name("whole") / "model"
    assert (shared / checkpoint.WEIGHTS).read_bytes() == (whole / checkpoint.WEIGHTS).read_bytes()
    actual, expected = (files.read_json(folder / "metrics.json") for folder in (shared, whole))
    assert actual["resumed_from"] == (f"checkpoint-{actual['steps'] // 2}" if name.endswith("resumed") else None)
    for key in ("processes", "steps", "best_epoch", "parameters", "trainable_parameters"):
        assert actual[key] == expected[key]
    for one, other in zip(actual["epochs"], expected["epochs"], strict=True):
        assert [one[key] for key in ("loss", "validation_loss", "uar")] == [
            other[key] for key in ("loss", "validation_loss", "uar")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_each_process_has_its_shard(name: str, runs: Path, models: Path) -> None:
    weights = load_file(models / "llama" / "model.safetensors")
    layers = sum(weight.numel() for part, weight in weights.items() if ".layers." in part)
    alone = files.read_json((runs / name).with_name("whole") / "held-0.json")
    shares = [files.read_json(runs / name / f"held-{rank}.json") for rank in range(2)]
    assert alone["whole"] == 0
    assert sum(share["own"] for share in shares) == layers
    for share in shares:
        assert share["whole"] == layers
        assert share["own"] == pytest.approx(layers / 2, rel=0.01)
        saved = 4 * (layers - share["own"])  # fp32
        assert alone["bytes"] - share["bytes"] == pytest.approx(saved, rel=0.01)


@pytest.mark.slow
def test_a_model_trained_with_shards_predicts_the_same(runs: Path, models: Path) -> None:
    manifest = text_corpus.make_manifest(models)
    whole, shared = (predict.predict(runs / "text" / run / "model", manifest, cpus=1) for run in ("whole", "shared"))
    pd.testing.assert_frame_equal(shared, whole)


def test_a_single_process_reports_that_fsdp_has_no_effect(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(text_corpus.system(models / "llama", epochs=1, fsdp=True), text_corpus.make_manifest(tmp_path), tmp_path)
    assert "training.fsdp: no effect" in capfd.readouterr().err


def test_a_model_without_layers_is_reported() -> None:
    encoder = SimpleNamespace(model=torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"^training\.fsdp: .* no layers"):
        fsdp.shard(SimpleNamespace(encoder=encoder), torch.device("cpu"))


def test_fsdp_does_not_define_a_task(models: Path, tmp_path: Path) -> None:
    """After running out of memory, a run can be resumed with `fsdp`, and the other way round."""
    rows = {"train": text_corpus.make_manifest(tmp_path)}
    tasks = [fingerprint(text_corpus.system(models / "llama", fsdp=sharded), rows, 7) for sharded in (False, True)]
    assert tasks[0] == tasks[1]


# --- invalid settings

SPEECH = {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wce"}}
TEXT = {"family": "text", "encoder": {"model": "published/llama"}, "loss": {"name": "wce"}}
ONLY = ("`training.fsdp`: ", "only a frozen language model with LoRA")


@pytest.mark.parametrize(
    ("system", "encoder", "parts"),
    [
        (SPEECH, {}, ONLY),
        (TEXT, {"freeze": "all"}, ONLY),
        (TEXT, {"freeze": "none"}, ONLY),
        (TEXT, {"quantization": "4bit"}, ("`training.fsdp`: ", "`encoder.quantization`")),
    ],
)
def test_what_cannot_be_sharded_is_reported(system: dict, encoder: dict, parts: tuple[str, ...]) -> None:
    settings = system | {"encoder": system["encoder"] | encoder, "training": {"fsdp": True}}
    with pytest.raises(UserError) as caught:
        config.parse(Trained, settings)
    assert_names(str(caught.value), *parts)


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_fsdp_needs_several_gpus(gpus: int) -> None:
    """Only in a configuration; the settings that a rule passes to train.py have no resources."""
    settings = TEXT | {"training": {"fsdp": True}}
    assert config.parse(Trained, settings).training.fsdp
    whole = {"corpus": {"kind": "synthetic"}, "systems": {"t2": settings | {"resources": {"gpu": gpus}}}}
    if gpus == 2:
        config.validate(whole)
        return
    with pytest.raises(UserError, match=r"`systems\.t2\.training\.fsdp`: needs several GPUs"):
        config.validate(whole)
