"""The text encoder (T2): golden numbers, batches, all kinds of transcripts, and invalid models and settings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from abhinaya.config.system import FramesHead, Lora, TextEncoder
from abhinaya.data.dataset import collate
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders import text
from abhinaya.runtime.errors import UserError
from support import golden as golden_numbers
from support.messages import assert_names

GOLDEN = golden_numbers.listing("text")
ARRAYS = golden_numbers.arrays("text")
CPU = torch.device("cpu")
TEXTS = ["Thank you.", "", "I was so angry about it, and then it was over.", "no"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=64, max_position_embeddings=40, **size)).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "thank", "you", ".", "no", "it", "was", "user"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


def build(folder: Path, bf16: bool = False, **keys: object) -> tuple[text.Transcripts, text.TextModule]:
    loader, encoder = text.build(TextEncoder(model=str(folder), **keys), 7, CPU, bf16)
    return loader, encoder.eval()


def batch(loader: text.Transcripts, texts: list[str]) -> dict[str, torch.Tensor]:
    rows, _ = loader.prepare(pd.DataFrame({"text": texts}))
    items = [{**loader.load(row, None), "labels": 0} for row in rows.to_dict("records")]
    made = collate(items)
    del made["labels"]
    return made


def with_tokenizer(model: Path, folder: Path, **changes: object) -> Path:
    """A copy of `model` whose tokenizer's configuration is changed."""
    shutil.copytree(model, folder)
    for name in ("tokenizer.json", "tokenizer.model"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(golden_numbers.FOLDER / "tokenizer" / "tokenizer.model", folder)
    settings = json.loads((golden_numbers.FOLDER / "tokenizer" / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | changes))
    return folder


def refused(folder: Path | str, *parts: str, **keys: object) -> None:
    with pytest.raises(UserError) as caught:
        text.build(TextEncoder(model=str(folder), **keys), 7, CPU, False)
    assert_names(str(caught.value), f"encoder {str(folder)!r}", *parts)


@torch.inference_mode()
def test_golden_tokens_hidden_states_and_logits(llama: Path) -> None:
    """All four sequences in one padded batch: ids exactly, hidden states and logits to 1e-5."""
    loader, encoder = build(llama)
    lora = golden_numbers.weights(GOLDEN["seed"], GOLDEN["lora"], GOLDEN["lora_prefix"])
    state = {f"base_model.model.{name.removeprefix('base_model.model.model.')}": value for name, value in lora.items()}
    unused = encoder.model.load_state_dict(
        {name: torch.from_numpy(value) for name, value in state.items()}, strict=False
    )
    assert unused.unexpected_keys == []
    head = golden_numbers.listing("head")
    classifier = Classifier(encoder, FramesHead(), [1] * 8).eval()
    weights = golden_numbers.weights(head["seed"], head["weights"])
    classifier.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    inputs = batch(loader, list(GOLDEN["texts"].values()))
    vectors, lengths = encoder(**inputs)
    logits = classifier(**inputs)["logits"]
    for row, case in enumerate(GOLDEN["texts"]):
        length = lengths[row]
        np.testing.assert_array_equal(inputs["inputs"][row, :length], ARRAYS[f"{case}_ids"])
        np.testing.assert_allclose(vectors[row, :length], ARRAYS[f"{case}_hidden"], atol=1e-5)
        np.testing.assert_allclose(logits[row], ARRAYS[f"{case}_logits"], atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "bert"])
@torch.inference_mode()
def test_vectors_do_not_depend_on_the_batch(kind: str, request: pytest.FixtureRequest) -> None:
    keys = {"special_tokens": "tokenizer", "max_tokens": 30} if kind == "bert" else {}
    loader, encoder = build(request.getfixturevalue(kind), **keys)
    together, lengths = encoder(**batch(loader, TEXTS))
    for row, alone in enumerate(TEXTS):
        vectors, _ = encoder(**batch(loader, [alone]))
        np.testing.assert_allclose(together[row, : lengths[row]], vectors[0], atol=2e-5)


@pytest.mark.parametrize(("kind", "causal"), [("llama", True), ("bert", False)])
def test_a_causal_model_needs_no_mask(kind: str, causal: bool, request: pytest.FixtureRequest) -> None:
    """Vectors and gradients are those with a mask, although the model is called without one."""
    keys = {} if causal else {"special_tokens": "tokenizer", "max_tokens": 30}
    loader, encoder = build(request.getfixturevalue(kind), **keys)
    assert encoder.is_causal == causal
    inputs = batch(loader, TEXTS)
    padding = text.padding_mask(False, **inputs) == 0
    assert padding.any()
    assert (text.padding_mask(causal, **inputs) is None) == causal
    trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    found = []
    for is_causal in (causal, False):
        encoder.is_causal = is_causal
        vectors = encoder(**inputs)[0].masked_fill(padding[..., None], 0.0)
        total = (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum()
        found.append([vectors, *torch.autograd.grad(total, list(trained.values()))])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_an_empty_transcript_is_an_end_token(llama: Path, bert: Path, tmp_path: Path) -> None:
    assert batch(build(llama)[0], [""])["inputs"].tolist() == [[2]]
    bare = with_tokenizer(llama, tmp_path / "bare", add_bos_token=False)  # as those of SmolLM2 and GPT-2
    assert batch(build(bare, special_tokens="tokenizer")[0], ["", "no"])["inputs"][0].tolist()[:1] == [2]
    assert batch(build(bert, special_tokens="tokenizer", max_tokens=9)[0], [""])["inputs"].tolist() == [[2, 3]]


def test_long_transcripts_are_truncated_and_counted(llama: Path) -> None:
    loader, _ = build(llama, max_tokens=5)
    rows, remarks = loader.prepare(pd.DataFrame({"text": TEXTS}))
    assert [len(tokens) for tokens in rows["tokens"]] == [5, 1, 5, 2]
    assert remarks == ["2 of 4 transcripts are longer than 5 tokens and were cut."]
    assert [loader.size(row) for row in rows.to_dict("records")] == [5, 1, 5, 2]
    assert build(llama)[0].prepare(pd.DataFrame({"text": TEXTS}))[1] == []


@pytest.mark.parametrize("words", ["</s>", "<s>", "I said </s> to <unk> them"])
def test_a_spelled_out_special_token_is_text(llama: Path, words: str) -> None:
    tokens = batch(build(llama)[0], [words])["inputs"][0].tolist()
    assert tokens[-1] == 2  # its own end
    assert not {0, 1, 2} & set(tokens[:-1])


def test_only_lora_and_the_head_are_trained_and_saved(llama: Path) -> None:
    _, encoder = build(llama)
    classifier = Classifier(encoder, FramesHead(hidden=4), [1] * 8)
    names = {name for name in classifier.saved() if name.startswith("encoder.")}
    assert len(names) == 2 * 2 * 2  # layers, q and v, A and B
    assert all("lora_" in name and ("q_proj" in name or "v_proj" in name) for name in names)
    assert {name for name, weight in classifier.named_parameters() if weight.requires_grad} == set(classifier.saved())
    assert sum(weight.numel() for name, weight in classifier.saved().items() if "lora_" in name) == 2 * 2 * 8 * 256


def test_lora_depends_on_the_seed_and_has_no_effect_before_training(llama: Path) -> None:
    adapted, again = build(llama)[1], build(llama)[1]
    loader, plain = build(llama, freeze="all")
    for one, other in zip(adapted.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.inference_mode():
        assert torch.equal(adapted(**batch(loader, TEXTS))[0], plain(**batch(loader, TEXTS))[0])


def test_a_frozen_model_has_no_lora_and_no_dropout(llama: Path) -> None:
    _, encoder = build(llama, freeze="all")
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert not any("lora" in name for name, _ in encoder.named_parameters())
    assert not encoder.train().model.training


def test_freeze_none_trains_every_weight(llama: Path) -> None:
    _, encoder = build(llama, bf16=True, freeze="none")
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in encoder.parameters())


def test_frozen_weights_are_held_in_bf16_and_adapters_in_fp32(llama: Path) -> None:
    _, encoder = build(llama, bf16=True)
    assert {weight.dtype for name, weight in encoder.named_parameters() if "lora_" in name} == {torch.float32}
    assert {weight.dtype for name, weight in encoder.named_parameters() if "lora_" not in name} == {torch.bfloat16}


def test_layer_removes_the_layers_above(llama: Path) -> None:
    loader, whole = build(llama, freeze="all")
    _, cut = build(llama, freeze="all", layer=1)
    assert len(cut.model.layers) == 1
    inputs = batch(loader, TEXTS)
    with torch.inference_mode():
        states = whole.model(inputs["inputs"], output_hidden_states=True).hidden_states
        vectors, lengths = cut(**inputs)
        expected = whole.model.norm(states[1])
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(vectors[row, :length], expected[row, :length], atol=1e-5)


def test_a_4_bit_model_can_be_trained(llama: Path) -> None:
    """With bitsandbytes' kernels on the CPU: vectors are close to those of the fp32 model, and LoRA gets gradients."""
    loader, encoder = build(llama, quantization="4bit")
    _, whole = build(llama)
    packed = [weight for weight in encoder.parameters() if weight.dtype == torch.uint8]
    assert len(packed) == 2 * 7  # the linear layers of two layers
    inputs = batch(loader, TEXTS)
    vectors, _ = encoder(**inputs)
    with torch.inference_mode():
        near = torch.nn.functional.cosine_similarity(vectors[2], whole(**inputs)[0][2], dim=-1)
    assert near.min() > 0.9
    vectors.sum().backward()
    trained = [weight for weight in encoder.parameters() if weight.requires_grad]
    assert trained and any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in trained)


def test_gradient_checkpointing_changes_no_gradient(llama: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        loader, encoder = build(llama)
        if checkpointing:
            encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
            encoder.train()
            for module in encoder.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        encoder(**batch(loader, TEXTS))[0].square().sum().backward()
        gradients.append([weight.grad for weight in encoder.parameters() if weight.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_missing_model_is_reported(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be loaded")
    with pytest.raises(UserError, match="folder not found"):
        text.build(TextEncoder(model=f"{tmp_path}/none"), 7, CPU, bf16=False)


def test_a_published_model_without_network_is_reported() -> None:
    refused("nobody/no-such-model", "cannot be loaded")


def test_missing_weights_are_reported(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "incomplete")
    file = tmp_path / "incomplete" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    refused(tmp_path / "incomplete", "1 weights are missing", "layers.1.mlp.up_proj.weight")


def test_an_invalid_weights_file_is_reported(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "invalid")
    (tmp_path / "invalid" / "model.safetensors").write_bytes(b"not weights at all")
    refused(tmp_path / "invalid", "cannot be loaded")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (T5Model(T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)), "t5"),
        (
            Wav2Vec2Model(
                Wav2Vec2Config(
                    hidden_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=8,
                    conv_dim=[4],
                    conv_stride=[5],
                    conv_kernel=[10],
                    num_conv_pos_embeddings=4,
                    num_conv_pos_embedding_groups=2,
                )
            ),
            "wav2vec2",
        ),
    ],
)
def test_other_architectures_are_refused(model: torch.nn.Module, words: str, llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "other")
    refused(tmp_path / "other", words, "use LLaMA, RoBERTa")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"layer": 3}, "`layer` is 3, but the model has 2 layers"),
        ({"max_tokens": 4096}, "`max_tokens` is 4096, but the model's limit is 2048"),
        (
            {"lora": Lora(targets=["query"])},
            "choose from down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj",
        ),
    ],
)
def test_settings_that_exceed_the_model_are_reported(llama: Path, keys: dict, words: str) -> None:
    refused(llama, words, **keys)


def test_a_tokenizer_without_end_token_is_reported(bert: Path) -> None:
    refused(bert, "set `special_tokens: tokenizer`", max_tokens=9)


def test_a_tokenizer_keeps_its_end_token_when_it_truncates(bert: Path) -> None:
    loader, _ = build(bert, special_tokens="tokenizer", max_tokens=4)
    rows, remarks = loader.prepare(pd.DataFrame({"text": ["thank you . no it was", "no"]}))
    assert rows["tokens"].tolist() == [[2, 5, 6, 3], [2, 8, 3]]
    assert len(remarks) == 1


def test_a_tokenizer_of_another_model_is_reported(llama: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(llama, small)
    config = LlamaConfig(**(GOLDEN["config"] | {"vocab_size": 100}))
    LlamaForCausalLM(config).save_pretrained(small)
    loader, _ = build(small)
    with pytest.raises(UserError, match=r"token id .* but the model has only 100 tokens"):
        loader.prepare(pd.DataFrame({"text": TEXTS}))


def test_a_folder_without_tokenizer_is_reported(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(llama / name, folder)
    refused(folder, "the tokenizer cannot be loaded", "get the complete model")


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [("llama", "tokenizer.json"), ("sentencepiece", "tokenizer.model"), ("bert", "vocab.txt")]
)
def test_a_tokenizer_without_vocabulary_is_reported(
    kind: str, vocabulary: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """transformers creates one with only special tokens, without a warning."""
    folder = tmp_path / kind
    if kind == "sentencepiece":
        with_tokenizer(request.getfixturevalue("llama"), folder)
    else:
        shutil.copytree(request.getfixturevalue(kind), folder)
    keys = {"max_tokens": 9, "special_tokens": "tokenizer"}
    build(folder, **keys)
    (folder / vocabulary).unlink()
    refused(folder, "the tokenizer has no vocabulary", **keys)


def test_limits_of_transcripts_do_not_apply_to_speech_llms(bert: Path) -> None:
    """A speech LLM has neither of the two keys."""
    refused(bert, "`max_tokens` is 128", "limit is 40", special_tokens="tokenizer")
    refused(bert, "set `special_tokens: tokenizer`", max_tokens=9)
    tokenizer, encoder = text.load(TextEncoder(model=str(bert)), 7, CPU, False)
    assert tokenizer.eos_token_id is None and encoder.width == 32


def test_positions_of_roberta_start_after_the_padding_token(tmp_path: Path, bert: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = RobertaModel(RobertaConfig(vocab_size=64, max_position_embeddings=20, pad_token_id=1, **size))
    shutil.copytree(bert, tmp_path / "roberta")
    (tmp_path / "roberta" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "roberta")
    keys = {"special_tokens": "tokenizer"}
    refused(tmp_path / "roberta", "`max_tokens` is 19", "limit is 18", max_tokens=19, **keys)
    loader, encoder = build(tmp_path / "roberta", max_tokens=18, **keys)
    with torch.inference_mode():
        vectors, lengths = encoder(**batch(loader, ["no " * 30]))
    assert lengths.tolist() == [18] and vectors.isfinite().all()


@pytest.mark.slow
def test_a_published_model_has_its_commit(llama: Path, tmp_path: Path) -> None:
    """From the hub's cache, in a new process, since the location of the cache is read at the start."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(llama, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "import torch; from abhinaya.config.system import TextEncoder; from abhinaya.modeling.encoders import text\n"
        "encoder = text.build(TextEncoder(model='org/tiny'), 7, torch.device('cpu'), False)[1]\n"
        "print(encoder.revisions['revision'])"
    )
    scripts = str(Path(text.__file__).parents[3])
    variables = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": scripts}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == commit
