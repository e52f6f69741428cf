"""SALMONN's checkpoints: the published names, shapes and counts, both layouts there and back, and every wrong file."""

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
from support import golden

torch.set_num_threads(1)

FACTS = golden.listing("salmonn")
HEAD = golden.listing("head")["weights"]
POSITIONS = "speech_Qformer.bert.embeddings.position_ids"
LAYER = "llama_model.base_model.model.model.layers"
WIDTHS = {"7B": (4096, 32), "13B": (5120, 40)}  # hidden size and layers of the two Vicunas


class Skeleton(nn.Module):
    """What SALMONN trains beside a LLaMA, without numbers."""

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
    """The golden weights, as SALMONN's file has them."""
    weights = golden.weights(FACTS["seed"], FACTS["weights"])
    return {name: torch.from_numpy(value) for name, value in weights.items()}


@pytest.fixture(scope="module")
def head() -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden.weights(FACTS["seed"], HEAD).items()}


def shapes_in_the_facts(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """The list of the reference notes, key by key, for Whisper large-v2 and BEATs."""

    def both(name: str, rows: int, columns: int | None = None) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (rows,) if columns is None else (rows, columns), f"{name}.bias": (rows,)}

    found = {"speech_query_tokens": (1, 1, 768), POSITIONS: (1, 512)}
    found |= both("ln_speech", 1280) | both("ln_audio", 768) | both("speech_llama_proj", width, 768)
    found |= both("speech_Qformer.bert.embeddings.LayerNorm", 768)
    for layer in range(2):
        name = f"speech_Qformer.bert.encoder.layer.{layer}"
        for attention, features in (("attention", 768), ("crossattention", 2048)):
            found |= both(f"{name}.{attention}.self.query", 768, 768)
            found |= both(f"{name}.{attention}.self.key", 768, features) | both(
                f"{name}.{attention}.self.value", 768, features
            )
            found |= both(f"{name}.{attention}.output.dense", 768, 768)
            found |= both(f"{name}.{attention}.output.LayerNorm", 768)
        found |= both(f"{name}.intermediate_query.dense", 3072, 768) | both(f"{name}.output_query.dense", 768, 3072)
        found |= both(f"{name}.output_query.LayerNorm", 768)
    for layer in range(layers):
        for part in ("q_proj", "v_proj"):
            found[f"{LAYER}.{layer}.self_attn.{part}.lora_A.default.weight"] = (8, width)
            found[f"{LAYER}.{layer}.self_attn.{part}.lora_B.default.weight"] = (width, 8)
    return found


@pytest.mark.parametrize("size", WIDTHS)
def test_published_names_shapes_and_counts(size: str) -> None:
    width, layers = WIDTHS[size]
    trained = Skeleton(1280, 768, width, layers).trained()
    assert sum(weight.numel() for weight in trained.values()) == FACTS["trained_parameters"][size]
    assert FACTS["trained_parameters"] == {"7B": 30_186_240, "13B": 33_332_992}
    found = {name: tuple(value.shape) for name, value in pretrained_weights.published(trained).items()}
    assert found == shapes_in_the_facts(width, layers)


def test_tiny_names_and_shapes_are_the_golden_ones(salmonn: dict[str, Tensor]) -> None:
    found = pretrained_weights.published(tiny())
    assert {name: list(value.shape) for name, value in found.items()} == {
        name: fact["shape"] for name, fact in FACTS["weights"].items()
    }


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_salmonns_layout_there_and_back(salmonn: dict[str, Tensor], tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pth"
    # As its own runner saves it, by-products and all.
    extras = {name: torch.ones(2) for name in FACTS["may_also_hold"]}
    rest = {"optimizer": {"state": {0: torch.ones(2)}}, "config": {"model": {"lora": True}}, "scaler": None, "epoch": 3}
    torch.save({"model": salmonn | extras} | rest, theirs)
    weights, head = pretrained_weights.load(theirs, tiny())
    assert weights.keys() == tiny().keys() and head == {}
    same(pretrained_weights.published(weights), salmonn)
    pretrained_weights.save(weights, tmp_path / "ours.pth")
    written = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert written.keys() == {"model"}
    same(written["model"], salmonn)
    same(pretrained_weights.load(tmp_path / "ours.pth", tiny())[0], weights)


def test_the_authors_layout_there_and_back(salmonn: dict[str, Tensor], head: dict[str, Tensor], tmp_path: Path) -> None:
    theirs = {f"salmonn_model.{name}": value for name, value in salmonn.items()} | head
    extras = {f"salmonn_model.{name}": torch.ones(2) for name in FACTS["may_also_hold"]}
    torch.save(theirs | extras, tmp_path / "theirs.pth")
    weights, found = pretrained_weights.load(tmp_path / "theirs.pth", tiny())
    same(found, head)
    same(pretrained_weights.published(weights), salmonn)
    pretrained_weights.save(weights, tmp_path / "ours.pth", head)
    same(torch.load(tmp_path / "ours.pth", weights_only=True), theirs)


def test_the_head_is_our_classifiers(head: dict[str, Tensor]) -> None:
    ours = Classifier(Skeleton(64, 64, 128, 1), FramesHead(), [1] * 8).state_dict()
    ours = {name: value for name, value in ours.items() if not name.startswith("encoder.")}
    assert pretrained_weights.HEAD == ours.keys() == head.keys()
    pretrained_weights.check(head, ours, "head")


def test_weights_land_where_they_belong(salmonn: dict[str, Tensor]) -> None:
    weights, _ = pretrained_weights.adopt(salmonn, tiny(), "golden")
    name = "layers.1.self_attn.v_proj.lora_B.default.weight"
    assert weights[f"model.base_model.model.{name}"] is salmonn[f"llama_model.base_model.model.model.{name}"]
    layer = "encoder.layer.1.crossattention"
    assert (
        weights[f"speech.qformer.{layer}.attention.key.bias"] is salmonn[f"speech_Qformer.bert.{layer}.self.key.bias"]
    )


def told(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        pretrained_weights.load(path, tiny())
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert told(tmp_path / "none.pth") == "no such file; download the checkpoint or correct the path"
    assert told(tmp_path) == "a folder; name the checkpoint file in it"


def test_the_users_folder_may_be_a_tilde(
    salmonn: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"model": salmonn}, tmp_path / "salmonn.pth")
    same(pretrained_weights.published(pretrained_weights.load("~/salmonn.pth", tiny())[0]), salmonn)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(
    value: float, salmonn: dict[str, Tensor], head: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "file.pth"
    for name, weights in (("speech_llama_proj.bias", salmonn), ("fc.bias", head)):
        spoilt = weights[name].clone()
        spoilt[3] = value
        prefixed = {f"salmonn_model.{key}": weight for key, weight in salmonn.items()} | head
        key = name if name in head else f"salmonn_model.{name}"
        torch.save(prefixed | {key: spoilt}, path)
        assert told(path) == f"{name} holds numbers that are not finite; get the file again"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off(share: float, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"model": {"ln_speech.weight": torch.ones(5000)}}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert told(path) == "no checkpoint, or cut off; give the published file, whole"


class Unsafe:
    """Anything but weights: a file with it could run code."""


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("<html>Not found</html>"),
        lambda path: path.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt "),
        lambda path: save_file({"weight": torch.ones(2)}, path),
        lambda path: np.savez(path, a=np.ones(3)),
        lambda path: torch.save({"model": Unsafe()}, path),
    ],
    ids=["page", "audio", "safetensors", "arrays", "code"],
)
def test_a_file_that_is_no_checkpoint(write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    write(path)
    assert told(path).startswith(("no checkpoint", "cannot be read as a checkpoint ("))


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"epoch": 3}, {"model": 3}, {"model": [1]}])
def test_a_file_without_names(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    assert told(tmp_path / "file.pth") == "holds no weights by name; give a checkpoint of SALMONN"


def test_checkpoints_of_other_models(tmp_path: Path) -> None:
    beats = {"cfg": {"encoder_layers": 12}, "model": {"encoder.layer_norm.bias": torch.ones(2)}}
    torch.save(beats, tmp_path / "beats.pt")
    words = "not a checkpoint of SALMONN (it holds encoder.layer_norm.bias); give one of SALMONN"
    assert told(tmp_path / "beats.pt") == words
    torch.save({"model": {}}, tmp_path / "empty.pt")
    assert "it holds nothing" in told(tmp_path / "empty.pt")


def refused(state: dict[str, Tensor], expected: dict[str, Tensor] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        pretrained_weights.adopt(state, tiny() if expected is None else expected, "file.pth")
    message = str(caught.value)
    assert "\n" not in message and message.startswith("file.pth: ")
    return message.removeprefix("file.pth: ")


def test_missing_and_unknown_weights() -> None:
    whole = pretrained_weights.published(tiny())
    fewer = {name: value for name, value in whole.items() if not name.startswith("ln_audio.")}
    words = "lacks weights (2, ln_audio.bias for one); take the checkpoint made for these models"
    assert refused(fewer) == words
    more = whole | {"beats.predictor.bias": torch.ones(2)}
    words = "has unknown weights (1, beats.predictor.bias for one); take the checkpoint made for these models"
    assert refused(more) == words
    # A by-product is known by its whole name alone.
    for name in ("speech_llama_proj.rotary_emb.inv_freq", f"{POSITIONS}.scale", f"other.{FACTS['may_also_hold'][-1]}"):
        assert f"(1, {name} for one)" in refused(whole | {name: torch.ones(2)})


def test_a_fine_tuned_file_without_its_whole_head(head: dict[str, Tensor]) -> None:
    whole = pretrained_weights.fine_tuned(tiny(), head)
    fewer = {name: value for name, value in whole.items() if name != "fc.bias"}
    assert refused(fewer) == "fine-tuned, but lacks fc.bias of the head; take the whole file"
    stray = whole | {"gate.weight": torch.ones(2)}
    assert refused(stray).startswith("has unknown weights (1, gate.weight for one)")


def test_a_checkpoint_of_another_size() -> None:
    """7B weights beside a 13B LLaMA, and the like at its sides."""
    small = pretrained_weights.published(tiny())
    assert refused(small, tiny(width=160, layers=3)) == (
        "made for a language model of hidden size 128, but the one given has 160; take the two that belong together "
        "(7B: 4096, 13B: 5120)"
    )
    assert refused(small, tiny(layers=3)).startswith(f"lacks weights (4, {LAYER}.2.self_attn.q_proj.lora_A")
    assert refused(small, tiny(layers=1)).startswith(f"has unknown weights (4, {LAYER}.1.self_attn.q_proj.lora_A")
    words = "has shape (64,), but the models given need (48,); take the checkpoint made for them"
    assert refused(small, tiny(speech=48)).endswith(words)
    assert "lora_A.default.weight has shape (8, 128), but the models given need (4, 128)" in refused(small, tiny(r=4))
