"""`pytorch_model.bin` as WavLM's and Vicuna's repositories have it: one file or shards, half precision, old names."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from abhinaya.config.system import SpeechEncoder, TextEncoder
from abhinaya.modeling.encoders import speech, text
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

CPU = torch.device("cpu")
BIN = "pytorch_model.bin"


def as_bin(model: Path, folder: Path, change: Callable[[dict], dict] = dict, shards: int = 1) -> dict[str, Tensor]:
    """A copy of `model` with `pytorch_model.bin`, or shards and their index; returns the original weights."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = change(dict(weights))
    if shards == 1:
        torch.save(state, folder / BIN)
        return weights
    places = {}
    for shard in range(shards):
        name = f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin"
        part = {key: value for index, (key, value) in enumerate(state.items()) if index % shards == shard}
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return weights


def load_llama(folder: Path, bf16: bool = False) -> dict[str, Tensor]:
    return text.load(TextEncoder(model=str(folder), freeze="all"), 0, CPU, bf16)[1].model.state_dict()


def load_wavlm(folder: Path) -> dict[str, Tensor]:
    return speech.build(SpeechEncoder(model=str(folder), min_seconds=0.5), 0)[1].model.state_dict()


def vicuna(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half precision, and the tables of rotary embeddings that transformers 4 stored for each layer."""
    tables = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    return {name: value.half() for name, value in state.items()} | tables


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_vicunas_layout_is_read(shards: int, bf16: bool, llama: Path, tmp_path: Path) -> None:
    weights = as_bin(llama, tmp_path / "vicuna", vicuna, shards)
    loaded = load_llama(tmp_path / "vicuna", bf16)
    assert len(loaded) == len(weights) - 1  # without the output layer
    for name, value in loaded.items():
        assert torch.equal(value, weights[f"model.{name}"].half().to(torch.bfloat16 if bf16 else torch.float32)), name


def old_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of torch before 2.0, in which WavLM is published."""
    for index, part in enumerate(("weight_g", "weight_v")):
        (name,) = [name for name in state if name.endswith(f"parametrizations.weight.original{index}")]
        state[name.replace(f"parametrizations.weight.original{index}", part)] = state.pop(name)
    return state


@pytest.mark.parametrize("change", [dict, old_weight_norm])
def test_wavlms_layout_is_read(change: Callable, wavlm: Path, tmp_path: Path) -> None:
    weights = as_bin(wavlm, tmp_path / "bin", change)
    loaded = load_wavlm(tmp_path / "bin")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


class Unsafe:
    """Unpickling it creates a file."""

    def __reduce__(self) -> tuple:
        return exec, ("open('created', 'w').close()",)


def break_file(folder: Path, how: str) -> None:
    path = folder / BIN
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif how == "code":
        torch.save({"encoder.layer_norm.weight": Unsafe()}, path)
    elif how == "missing":
        state = torch.load(path, weights_only=True)
        del state["encoder.layer_norm.weight"]
        torch.save(state, path)
    else:
        state = torch.load(path, weights_only=True)
        torch.save(state | {"encoder.layer_norm.weight": torch.ones(5)}, path)


@pytest.mark.parametrize("how", ["truncated", "code", "missing", "shape"])
def test_a_broken_file_is_reported_and_never_runs(
    how: str, wavlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_bin(wavlm, tmp_path / "bin")
    break_file(tmp_path / "bin", how)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_wavlm(tmp_path / "bin")
    assert not Path("created").exists()
    words = {"missing": "encoder.layer_norm.weight", "shape": "encoder.layer_norm.weight (shape [5]", "code": "exec"}
    assert_names(str(caught.value), f"encoder '{tmp_path / 'bin'}'", words.get(how, "get the complete model"))
