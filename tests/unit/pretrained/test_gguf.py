"""GGUF models as transformers folders."""

import os
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from abhinaya.pretrained import hub
from abhinaya.pretrained.gguf import gguf_file, unpack
from abhinaya.runtime.errors import UserError
from support import flushes

WORDS = ["<unk>", "<s>", "</s>", *(chr(number) for number in range(97, 123)), "ab", "abc", "Ġ", "Ċ"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}</s>{% endfor %}"
CONFIG = LlamaConfig(
    vocab_size=len(WORDS),
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    initializer_range=0.2,  # so large that every part matters to the output
)
Q8 = gguf.GGMLQuantizationType.Q8_0
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """Its matrices hold what Q8_0 can hold, so that nothing is lost by writing them."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            rounded = gguf.quants.dequantize(gguf.quants.quantize(parameter.detach().numpy(), Q8), Q8)
            parameter.data = torch.from_numpy(rounded)
    return model


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of query and key: rotary pairs lie side by side."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write(model: LlamaForCausalLM, path: Path, leave_out: str = "") -> None:
    """Write `model` as llama.cpp's converter does: matrices as Q8_0, norms as float32."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONFIG.max_position_embeddings)
    writer.add_embedding_length(CONFIG.hidden_size)
    writer.add_block_count(CONFIG.num_hidden_layers)
    writer.add_feed_forward_length(CONFIG.intermediate_size)
    writer.add_head_count(CONFIG.num_attention_heads)
    writer.add_head_count_kv(CONFIG.num_key_value_heads)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(CONFIG.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3 if word.startswith("<") else 1 for word in WORDS])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        ours, value = name.removesuffix(".weight"), tensor.numpy()
        if name == leave_out:
            continue
        if ours.startswith("model.layers."):
            layer, part = ours.removeprefix("model.layers.").split(".", 1)
            ours = f"blk.{layer}.{NAMES[part]}"
            if part.endswith("q_proj"):
                value = interleaved(value, CONFIG.num_attention_heads)
            if part.endswith("k_proj"):
                value = interleaved(value, CONFIG.num_key_value_heads)
        else:
            ours = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[ours]
        if value.ndim == 2:
            writer.add_tensor(f"{ours}.weight", gguf.quants.quantize(value, Q8), raw_dtype=Q8)
        else:
            writer.add_tensor(f"{ours}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def folder(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    write(model, folder / "tiny.Q8_0.gguf")
    return folder


@pytest.fixture(scope="module")
def unpacked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(folder, tmp_path_factory.mktemp("out") / "deeper" / "model")


def test_the_only_gguf_file_is_found(tmp_path: Path) -> None:
    assert gguf_file(tmp_path) is None
    (tmp_path / "a.gguf").touch()
    assert gguf_file(tmp_path) == "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(UserError, match=r"2 GGUF files .*a\.gguf, b\.gguf"):
        gguf_file(tmp_path)
    (tmp_path / "config.json").touch()
    assert gguf_file(str(tmp_path)) is None  # a transformers folder


def test_converted_model_gives_the_same_logits(model: LlamaForCausalLM, unpacked: Path) -> None:
    read = AutoModelForCausalLM.from_pretrained(unpacked).eval()
    assert type(read) is LlamaForCausalLM
    assert {parameter.dtype for parameter in read.parameters()} == {torch.float32}
    assert not hasattr(read.config, "quantization_config")
    tokens = torch.randint(3, len(WORDS), (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(read(tokens).logits, model(tokens).logits, atol=1e-4, rtol=0)
    assert list(unpacked.glob("*.safetensors")) and not list(unpacked.glob("*.gguf"))


def test_tokenizer_and_chat_template_are_converted(unpacked: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(unpacked)
    assert tokenizer.tokenize("abcd") == ["abc", "d"]
    assert tokenizer.eos_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "abc"}], tokenize=False) == "abc</s>"


def test_no_temporary_files_remain_and_a_complete_model_is_kept(folder: Path, unpacked: Path) -> None:
    assert [path.name for path in unpacked.parent.iterdir()] == ["model"]
    before = {path: path.stat().st_mtime_ns for path in unpacked.iterdir()}
    assert unpack(folder, unpacked) == unpacked
    assert {path: path.stat().st_mtime_ns for path in unpacked.iterdir()} == before


def test_model_is_flushed_before_it_is_renamed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = flushes.recorded(monkeypatch)
    flushes.assert_spared(unpack(folder, tmp_path / "model"), events)


def test_no_progress_bar_is_printed(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    unpack(folder, tmp_path / "model")
    out, err = capfd.readouterr()
    assert "%|" not in out + err


def test_leftovers_of_killed_conversions_are_removed(folder: Path, tmp_path: Path) -> None:
    old, fresh, other = (tmp_path / name for name in (".model.old", ".model.fresh", ".another.old"))
    for left in (old, fresh, other):
        (left / "model").mkdir(parents=True)
        (left / "model" / "weights").touch()
    for left in (old, other):
        os.utime(left, (0, time.time() - 2 * 86400))
    unpack(folder, tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.fresh", ".another.old"}


@pytest.mark.parametrize("kind", ["none", "no GGUF", "truncated", "tensor missing"])
def test_invalid_model_is_reported_in_one_line(
    kind: str, model: LlamaForCausalLM, folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    content = (folder / "tiny.Q8_0.gguf").read_bytes()
    if kind == "no GGUF":
        (broken / "a.gguf").write_bytes(b"something else" * 100)
    elif kind == "truncated":
        (broken / "a.gguf").write_bytes(content[: len(content) // 2])
    elif kind == "tensor missing":
        write(model, broken / "a.gguf", leave_out="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(UserError) as caught:
        unpack(broken, tmp_path / "target" / "model")
    assert str(broken) in str(caught.value) and "\n" not in str(caught.value)
    assert ("up_proj" in str(caught.value)) == (kind == "tensor missing")
    assert not (tmp_path / "target" / "model").exists()


def test_as_folder_converts_once_into_the_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.gguf").write_bytes(b"one")
    unpacked = []
    monkeypatch.setattr(hub, "unpack", lambda folder, target: unpacked.append(folder) or target)
    place = Path(hub.as_folder(str(tmp_path / "model")))
    assert place.parent == tmp_path / "cache" / "abhinaya"
    assert unpacked == [str(tmp_path / "model")]
    (tmp_path / "model" / "tiny.gguf").write_bytes(b"two")  # other content, other folder
    assert hub.as_folder(str(tmp_path / "model")) != str(place)
    (tmp_path / "model" / "config.json").write_text("{}")  # a transformers folder is used as it is
    assert hub.as_folder(str(tmp_path / "model")) == str(tmp_path / "model")
    assert hub.as_folder("org/published") == "org/published"
