"""SALMONN's checkpoints: published names, shapes and counts, both layouts, and invalid files."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from abhinaya.config.system import FramesHead
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import pretrained_weights
from abhinaya.modeling.encoders.salmonn.qformer import SpeechTokens
from abhinaya.runtime.errors import UserError
from support import golden, salmonn_parts
from support.messages import assert_names

omegaconf = pytest.importorskip("omegaconf")  # of WhisperX, in both lock files
torch.set_num_threads(1)

FACTS = golden.listing("salmonn")
HEAD = golden.listing("head")["weights"]
POSITIONS = "speech_Qformer.bert.embeddings.position_ids"
LAYER = "llama_model.base_model.model.model.layers"
WIDTHS = {"7B": (4096, 32), "13B": (5120, 40)}  # hidden size and layers of the two Vicunas


class Skeleton(nn.Module):
    """The trained part of SALMONN and a LLaMA, without values."""

    def __init__(self, speech: int, audio: int, width: int, layers: int, r: int = 8) -> None:
        super().__init__()
        self.width = width
        with torch.device("meta"):
            size = {"hidden_size": width, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 8}
            llama = LlamaModel(LlamaConfig(num_hidden_layers=layers, **size))
            lora = LoraConfig(r=r, task_type=TaskType.FEATURE_EXTRACTION, target_modules=["q_proj", "v_proj"])
            self.speech = SpeechTokens(speech, audio, width)
            self.model = get_peft_model(llama, lora)

    def trained(self) -> dict[str, Tensor]:
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


@functools.cache
def tiny(**keys: int) -> dict[str, Tensor]:
    return Skeleton(**({"speech": 64, "audio": 64, "width": 128, "layers": 2} | keys)).trained()


@pytest.fixture(scope="module")
def salmonn() -> dict[str, Tensor]:
    """The golden weights with the names of SALMONN's file."""
    weights = golden.weights(FACTS["seed"], FACTS["weights"])
    return {name: torch.from_numpy(value) for name, value in weights.items()}


@pytest.fixture(scope="module")
def head() -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden.weights(FACTS["seed"], HEAD).items()}


def reference_shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the reference notes, for Whisper large-v2 and BEATs."""

    def both(name: str, rows: int, columns: int | None = None) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (rows,) if columns is None else (rows, columns), f"{name}.bias": (rows,)}

    actual = {"speech_query_tokens": (1, 1, 768), POSITIONS: (1, 512)}
    actual |= both("ln_speech", 1280) | both("ln_audio", 768) | both("speech_llama_proj", width, 768)
    actual |= both("speech_Qformer.bert.embeddings.LayerNorm", 768)
    for layer in range(2):
        name = f"speech_Qformer.bert.encoder.layer.{layer}"
        for attention, features in (("attention", 768), ("crossattention", 2048)):
            actual |= both(f"{name}.{attention}.self.query", 768, 768)
            actual |= both(f"{name}.{attention}.self.key", 768, features) | both(
                f"{name}.{attention}.self.value", 768, features
            )
            actual |= both(f"{name}.{attention}.output.dense", 768, 768)
            actual |= both(f"{name}.{attention}.output.LayerNorm", 768)
        actual |= both(f"{name}.intermediate_query.dense", 3072, 768) | both(f"{name}.output_query.dense", 768, 3072)
        actual |= both(f"{name}.output_query.LayerNorm", 768)
    for layer in range(layers):
        for part in ("q_proj", "v_proj"):
            actual[f"{LAYER}.{layer}.self_attn.{part}.lora_A.default.weight"] = (8, width)
            actual[f"{LAYER}.{layer}.self_attn.{part}.lora_B.default.weight"] = (width, 8)
    return actual


@pytest.mark.parametrize("size", WIDTHS)
def test_published_names_shapes_and_counts(size: str) -> None:
    width, layers = WIDTHS[size]
    trained = Skeleton(1280, 768, width, layers).trained()
    assert sum(weight.numel() for weight in trained.values()) == FACTS["trained_parameters"][size]
    assert FACTS["trained_parameters"] == {"7B": 30_186_240, "13B": 33_332_992}
    actual = {name: tuple(value.shape) for name, value in salmonn_parts.published(trained).items()}
    assert actual == reference_shapes(width, layers)


def test_small_model_has_the_golden_names_and_shapes(salmonn: dict[str, Tensor]) -> None:
    actual = salmonn_parts.published(tiny())
    assert {name: list(value.shape) for name, value in actual.items()} == {
        name: fact["shape"] for name, fact in FACTS["weights"].items()
    }


def same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype and torch.equal(actual[name], value), name


def test_salmonns_layout_is_read(salmonn: dict[str, Tensor], tmp_path: Path) -> None:
    # As written by SALMONN's own training, with parameters that are not used here.
    extras = {name: torch.ones(2) for name in FACTS["may_also_hold"]}
    rest = {"optimizer": {"state": {0: torch.ones(2)}}, "config": {"model": {"lora": True}}, "scaler": None, "epoch": 3}
    torch.save({"model": salmonn | extras} | rest, tmp_path / "salmonn.pth")
    weights, head = pretrained_weights.load(tmp_path / "salmonn.pth", tiny())
    assert weights.keys() == tiny().keys() and head == {}
    same(salmonn_parts.published(weights), salmonn)


def test_the_authors_layout_is_read(salmonn: dict[str, Tensor], head: dict[str, Tensor], tmp_path: Path) -> None:
    theirs = {f"salmonn_model.{name}": value for name, value in salmonn.items()} | head
    extras = {f"salmonn_model.{name}": torch.ones(2) for name in FACTS["may_also_hold"]}
    torch.save(theirs | extras, tmp_path / "fine_tuned.pth")
    weights, actual = pretrained_weights.load(tmp_path / "fine_tuned.pth", tiny())
    same(actual, head)
    same(salmonn_parts.published(weights), salmonn)
    same(salmonn_parts.fine_tuned(weights, head), theirs)


@pytest.mark.parametrize("zipped", [True, False])
def test_awkward_files_are_read(
    zipped: bool, salmonn: dict[str, Tensor], head: dict[str, Tensor], tmp_path: Path
) -> None:
    """fp16, as one of several GPUs wrote it, beside the training's settings as objects, in the old format."""
    settings = {"args": argparse.Namespace(lr=1e-5), "config": omegaconf.OmegaConf.create({"model": {"lora": True}})}
    for case, weights in (
        ("salmonn", salmonn),
        ("fine_tuned", {f"salmonn_model.{name}": value for name, value in salmonn.items()} | head),
    ):
        state = {f"module.{name}": value.half() for name, value in weights.items()}
        torch.save({"model": state} | settings, tmp_path / case, _use_new_zipfile_serialization=zipped)
        actual, actual_head = pretrained_weights.load(tmp_path / case, tiny())
        assert actual.keys() == tiny().keys() and len(actual_head) == (9 if case == "fine_tuned" else 0)
        torch.testing.assert_close(actual["speech.ln_audio.bias"], salmonn["ln_audio.bias"].half())


def test_head_of_the_authors_is_that_of_the_classifier(head: dict[str, Tensor]) -> None:
    ours = Classifier(Skeleton(64, 64, 128, 1), FramesHead(), [1] * 8).state_dict()
    ours = {name: value for name, value in ours.items() if not name.startswith("encoder.")}
    assert pretrained_weights.HEAD == ours.keys() == head.keys()
    assert {name: value.shape for name, value in head.items()} == {name: value.shape for name, value in ours.items()}


def test_names_are_converted(salmonn: dict[str, Tensor]) -> None:
    weights, _ = pretrained_weights.adopt(salmonn, tiny(), "golden")
    name = "layers.1.self_attn.v_proj.lora_B.default.weight"
    assert weights[f"model.base_model.model.{name}"] is salmonn[f"llama_model.base_model.model.model.{name}"]
    layer = "encoder.layer.1.crossattention"
    assert (
        weights[f"speech.qformer.{layer}.attention.key.bias"] is salmonn[f"speech_Qformer.bert.{layer}.self.key.bias"]
    )


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        pretrained_weights.load(path, tiny())
    assert_names(str(caught.value), f"{path}: ", *parts)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    refused(tmp_path / "none.pth", "file not found", "path")
    refused(tmp_path, "is a folder")


def test_path_may_start_with_a_tilde(
    salmonn: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"model": salmonn}, tmp_path / "salmonn.pth")
    same(salmonn_parts.published(pretrained_weights.load("~/salmonn.pth", tiny())[0]), salmonn)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_reported(
    value: float, salmonn: dict[str, Tensor], head: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "file.pth"
    for name, here, weights in (
        ("speech_llama_proj.bias", "speech.projection.bias", salmonn),
        ("fc.bias", "fc.bias", head),
    ):
        invalid = weights[name].clone()
        invalid[3] = value
        prefixed = {f"salmonn_model.{key}": weight for key, weight in salmonn.items()} | head
        key = name if name in head else f"salmonn_model.{name}"
        torch.save(prefixed | {key: invalid}, path)
        refused(path, here, "not finite")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_reported(share: float, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"model": {"ln_speech.weight": torch.ones(5000)}}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "truncated")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("<html>Not found</html>"),
        lambda path: path.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt "),
        lambda path: save_file({"weight": torch.ones(2)}, path),
        lambda path: np.savez(path, a=np.ones(3)),
    ],
    ids=["page", "audio", "safetensors", "arrays"],
)
def test_a_file_in_another_format_is_reported(write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    write(path)
    refused(path, "not a checkpoint of torch")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"epoch": 3}, {"model": 3}, {"model": [1]}])
def test_a_checkpoint_without_names_is_reported(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    refused(tmp_path / "file.pth", "no weights", "state_dict()")


def test_checkpoints_of_other_models_are_reported(tmp_path: Path) -> None:
    beats = {"cfg": {"encoder_layers": 12}, "model": {"encoder.layer_norm.bias": torch.ones(2)}}
    torch.save(beats, tmp_path / "beats.pt")
    refused(tmp_path / "beats.pt", "not a checkpoint of SALMONN", "encoder.layer_norm.bias")
    torch.save({"model": {}}, tmp_path / "empty.pt")
    refused(tmp_path / "empty.pt", "not a checkpoint of SALMONN")


def not_adopted(state: dict[str, Tensor], expected: dict[str, Tensor], *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        pretrained_weights.adopt(state, expected, "file.pth")
    assert_names(str(caught.value), "file.pth: ", *parts)


def test_missing_and_unknown_weights_are_reported() -> None:
    complete = salmonn_parts.published(tiny())
    fewer = {name: value for name, value in complete.items() if not name.startswith("ln_audio.")}
    not_adopted(fewer, tiny(), "2 weights", "speech.ln_audio.bias (shape missing, expected [64])")
    # Unused parameters are recognised by their complete names only.
    position_scale = "speech_Qformer.bert.embeddings.position_ids.scale"
    other = f"other.{FACTS['may_also_hold'][-1]}"
    for name in ("beats.predictor.bias", "audio.rotary_emb.inv_freq", position_scale, other):
        not_adopted(complete | {name: torch.ones(2)}, tiny(), "1 weights", f"{name} (shape [2], expected none)")


def test_an_incomplete_head_is_reported(head: dict[str, Tensor]) -> None:
    complete = salmonn_parts.fine_tuned(tiny(), head)
    not_adopted({name: value for name, value in complete.items() if name != "fc.bias"}, tiny(), "fc.bias of the head")
    not_adopted(complete | {"gate.weight": torch.ones(2)}, tiny(), "gate.weight (shape [2], expected none)")


def test_a_checkpoint_of_another_size_is_reported() -> None:
    """7B weights with a 13B LLaMA, and models with other layers or widths."""
    small = salmonn_parts.published(tiny())
    layers = "model.base_model.model.layers"
    not_adopted(small, tiny(width=160, layers=3), "hidden size 128", "`language_model` has 160")
    not_adopted(small, tiny(layers=3), "4 weights", f"{layers}.2.self_attn.q_proj.lora_A")
    not_adopted(small, tiny(layers=1), "4 weights", f"{layers}.1.self_attn.q_proj.lora_A")
    not_adopted(small, tiny(speech=48), "(shape [64], expected [48])")
    not_adopted(small, tiny(r=4), "lora_A.default.weight (shape [8, 128], expected [4, 128])")
