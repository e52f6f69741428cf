"""The text encoder (T2): golden numbers, batch mates, transcripts of every kind, and every way to say it wrong."""

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
from support.text_corpus import save_llama

GOLDEN = golden_numbers.listing("text")
ARRAYS = golden_numbers.arrays("text")
CPU = torch.device("cpu")
TEXTS = ["Thank you.", "", "I was so angry about it, and then it was over.", "no"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder)
    return folder


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


def refused(folder: Path | str, bf16: bool = False, **keys: object) -> str:
    with pytest.raises(UserError) as caught:
        text.build(TextEncoder(model=str(folder), **keys), 7, CPU, bf16)
    told = str(caught.value)
    assert "\n" not in told and told.startswith("encoder ")
    return told


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
def test_batch_mates_change_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    keys = {"special_tokens": "tokenizer", "max_tokens": 30} if kind == "bert" else {}
    loader, encoder = build(request.getfixturevalue(kind), **keys)
    together, lengths = encoder(**batch(loader, TEXTS))
    for row, alone in enumerate(TEXTS):
        vectors, _ = encoder(**batch(loader, [alone]))
        np.testing.assert_allclose(together[row, : lengths[row]], vectors[0], atol=2e-5)


def test_an_empty_transcript_is_an_end_token(llama: Path, bert: Path, tmp_path: Path) -> None:
    assert batch(build(llama)[0], [""])["inputs"].tolist() == [[2]]
    bare = with_tokenizer(llama, tmp_path / "bare", add_bos_token=False)  # SmolLM2's and GPT-2's add nothing either
    assert batch(build(bare, special_tokens="tokenizer")[0], ["", "no"])["inputs"][0].tolist()[:1] == [2]
    assert batch(build(bert, special_tokens="tokenizer", max_tokens=9)[0], [""])["inputs"].tolist() == [[2, 3]]


def test_long_transcripts_are_cut_and_counted(llama: Path) -> None:
    loader, _ = build(llama, max_tokens=5)
    rows, remarks = loader.prepare(pd.DataFrame({"text": TEXTS}))
    assert [len(tokens) for tokens in rows["tokens"]] == [5, 1, 5, 2]
    assert remarks == ["2 of 4 transcripts are longer than 5 tokens and were cut."]
    assert [loader.size(row) for row in rows.to_dict("records")] == [5, 1, 5, 2]
    assert build(llama)[0].prepare(pd.DataFrame({"text": TEXTS}))[1] == []


@pytest.mark.parametrize("spelt", ["</s>", "<s>", "I said </s> to <unk> them"])
def test_a_transcript_cannot_spell_a_special_token(llama: Path, spelt: str) -> None:
    tokens = batch(build(llama)[0], [spelt])["inputs"][0].tolist()
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


def test_lora_is_drawn_from_the_seed_and_starts_at_nothing(llama: Path) -> None:
    adapted, again = build(llama)[1], build(llama)[1]
    loader, plain = build(llama, freeze="all")
    for one, other in zip(adapted.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.inference_mode():
        assert torch.equal(adapted(**batch(loader, TEXTS))[0], plain(**batch(loader, TEXTS))[0])


def test_a_frozen_model_has_no_lora_and_never_drops_out(llama: Path) -> None:
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


def test_a_layer_cuts_the_model_off(llama: Path) -> None:
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


def test_four_bits_train_too(llama: Path) -> None:
    """bitsandbytes' real kernels, on the CPU: the quantised model is near the whole one and LoRA gets gradients."""
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


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be loaded" in refused(tmp_path)
    with pytest.raises(UserError, match="folder not found"):
        text.build(TextEncoder(model=f"{tmp_path}/none"), 7, CPU, bf16=False)


def test_a_published_model_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be loaded" in refused("nobody/no-such-model")


def test_a_checkpoint_without_all_its_weights(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert "lacks 1 of its weights, layers.1.mlp.up_proj.weight for one" in refused(tmp_path / "cut")


def test_a_spoilt_weights_file(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "model.safetensors").write_bytes(b"not weights at all")
    assert "cannot be loaded" in refused(tmp_path / "spoilt")


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
def test_models_that_are_no_decoder_or_encoder_of_text(
    model: torch.nn.Module, words: str, llama: Path, tmp_path: Path
) -> None:
    shutil.copytree(llama, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "other")
    told = refused(tmp_path / "other")
    assert words in told and "use LLaMA, RoBERTa" in told


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"layer": 3}, "`layer` 3, but it has 2; lower it"),
        ({"max_tokens": 4096}, "`max_tokens` 4096, but it reads at most 2048; lower it"),
        (
            {"lora": Lora(targets=["query"])},
            "choose from down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj",
        ),
    ],
)
def test_settings_beyond_the_model(llama: Path, keys: dict, words: str) -> None:
    assert words in refused(llama, **keys)


def test_a_tokenizer_without_end_token(bert: Path) -> None:
    assert "set `special_tokens: tokenizer`" in refused(bert, max_tokens=9)


def test_a_tokenizer_keeps_its_own_end_when_it_cuts(bert: Path) -> None:
    loader, _ = build(bert, special_tokens="tokenizer", max_tokens=4)
    rows, remarks = loader.prepare(pd.DataFrame({"text": ["thank you . no it was", "no"]}))
    assert rows["tokens"].tolist() == [[2, 5, 6, 3], [2, 8, 3]]
    assert len(remarks) == 1


def test_a_tokenizer_of_another_model(llama: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(llama, small)
    config = LlamaConfig(**(GOLDEN["config"] | {"vocab_size": 100}))
    LlamaForCausalLM(config).save_pretrained(small)
    loader, _ = build(small)
    with pytest.raises(UserError, match="and the model has 100; get the tokenizer that belongs to it"):
        loader.prepare(pd.DataFrame({"text": TEXTS}))


def test_a_folder_without_tokenizer(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(llama / name, folder)
    told = refused(folder)
    assert "the tokenizer cannot be loaded" in told and "get the whole folder" in told


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [("llama", "tokenizer.json"), ("sentencepiece", "tokenizer.model"), ("bert", "vocab.txt")]
)
def test_a_tokenizer_without_its_vocabulary(
    kind: str, vocabulary: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """transformers makes one that knows nothing but its special tokens, and says nothing."""
    folder = tmp_path / kind
    if kind == "sentencepiece":
        with_tokenizer(request.getfixturevalue("llama"), folder)
    else:
        shutil.copytree(request.getfixturevalue(kind), folder)
    keys = {"max_tokens": 9, "special_tokens": "tokenizer"}
    build(folder, **keys)
    (folder / vocabulary).unlink()
    told = refused(folder, **keys)
    assert told.endswith(
        f"{kind}': its tokenizer knows no words; get the whole folder, its tokenizer files are missing"
    )
    with pytest.raises(UserError, match="its tokenizer knows no words"):
        text.load(TextEncoder(model=str(folder)), 7, CPU, False)


def test_what_a_speech_llm_takes_has_no_limit_of_transcripts(bert: Path) -> None:
    """Neither key of this section is one of a speech LLM's."""
    assert "`max_tokens` 128, but it reads at most 40" in refused(bert, special_tokens="tokenizer")
    assert "set `special_tokens: tokenizer`" in refused(bert, max_tokens=9)
    tokenizer, encoder = text.load(TextEncoder(model=str(bert)), 7, CPU, False)
    assert tokenizer.eos_token_id is None and encoder.width == 32


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path, bert: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = RobertaModel(RobertaConfig(vocab_size=64, max_position_embeddings=20, pad_token_id=1, **size))
    shutil.copytree(bert, tmp_path / "roberta")
    (tmp_path / "roberta" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "roberta")
    keys = {"special_tokens": "tokenizer"}
    assert "`max_tokens` 19, but it reads at most 18; lower it" in refused(tmp_path / "roberta", max_tokens=19, **keys)
    loader, encoder = build(tmp_path / "roberta", max_tokens=18, **keys)
    with torch.inference_mode():
        vectors, lengths = encoder(**batch(loader, ["no " * 30]))
    assert lengths.tolist() == [18] and vectors.isfinite().all()


@pytest.mark.slow
def test_a_published_model_has_its_commit(llama: Path, tmp_path: Path) -> None:
    """From a cache as the hub's client fills it, in a process of its own: the cache's place is read at its start."""
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
