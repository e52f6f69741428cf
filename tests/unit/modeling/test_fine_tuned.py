"""The authors' fine-tuned checkpoints become model folders with their logits; other files are refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM, WavLMModel

from abhinaya.config import parse
from abhinaya.config.base import settings_json
from abhinaya.config.system import SpeechSystem, TextSystem, TrainedSystem
from abhinaya.data.dataset import collate
from abhinaya.modeling import checkpoint, fine_tuned
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import pretrained_weights
from abhinaya.modeling.pooling import AttentiveStatisticsPooling
from abhinaya.prediction.systems import read_model
from abhinaya.preflight import meta_models
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support import golden, running, salmonn_parts, text_corpus
from support.messages import assert_names

CPU = torch.device("cpu")
HEAD = salmonn_parts.tensors(golden.listing("head"))
TEXT = golden.listing("text")
GOLDEN_HEAD = {"hidden": len(HEAD["fc.bias"]), "attention_init": 1.0, "dropout": 0.5}


def t2(llama: Path, **keys: object) -> TextSystem:
    settings = text_corpus.system(llama, keys)
    return parse(TextSystem, json.loads(settings_json(settings)) | {"head": GOLDEN_HEAD})


def t2_file() -> dict[str, Tensor]:
    """What the authors' T2 saves: LoRA around LlamaForCausalLM, under `llama.`, and the head."""
    lora = golden.weights(TEXT["seed"], TEXT["lora"], TEXT["lora_prefix"])
    return {f"llama.{name}": torch.from_numpy(value) for name, value in lora.items()} | HEAD


def convert(settings: TrainedSystem, state: object, folder: Path, name: str = "authors.pth") -> Path:
    torch.save(state, folder / name)
    classifier = meta_models.classifier(settings)
    fine_tuned.convert("system", settings, folder / name, classifier, 7, folder / "model")
    return folder / "model"


@torch.inference_mode()
def logits_of(model: Path, rows: list[dict]) -> Tensor:
    classifier, loader, _ = checkpoint.load_model(model, CPU)
    prepared, _ = loader.prepare(pd.DataFrame(rows))
    batch = collate([{**loader.load(row, None), "labels": 0} for row in prepared.to_dict("records")])
    del batch["labels"]
    return classifier(**batch)["logits"]


def test_names_of_t2_are_those_of_peft(llama: Path) -> None:
    """The authors' construction, with this version of peft."""
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(llama), LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, lora_alpha=32)
    )
    names = {f"llama.{name}" for name, weight in model.named_parameters() if weight.requires_grad}
    assert names == t2_file().keys() - HEAD.keys()


def test_t2_gives_the_golden_logits(llama: Path, tmp_path: Path) -> None:
    model = convert(t2(llama), t2_file(), tmp_path)
    logits = logits_of(model, [{"text": text} for text in TEXT["texts"].values()])
    arrays = golden.arrays("text")
    expected = np.stack([arrays[f"{case}_logits"] for case in TEXT["texts"]])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["s2", "st1"])
def test_s2_and_st1_give_the_golden_logits(parts: Path, kind: str, tmp_path: Path) -> None:
    """Without SALMONN's own checkpoint."""
    settings = salmonn_parts.system(
        parts, {"transcript": kind == "st1", "checkpoint": None}, head=GOLDEN_HEAD, gradient_checkpointing=False
    )
    weights = salmonn_parts.tensors(golden.listing("salmonn"))
    state = {pretrained_weights.FINE_TUNED + name: value for name, value in weights.items()} | HEAD
    model = convert(settings, state, tmp_path)
    rows = []
    for clip in salmonn_parts.CLIPS:
        answer = salmonn_parts.CASES[f"st1_{clip}"]["answer"].partition("<Transcript> ")[2]
        rows.append({"path": str(parts / f"{clip}.wav"), "duration": 1.0, "text": answer})
    logits = logits_of(model, rows)
    arrays = golden.arrays("salmonn")
    expected = np.stack([arrays[f"{kind}_{clip}_logits"] for clip in salmonn_parts.CLIPS])
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert not any("random" in note for note in files.read_json(model / "config.json")["notes"])


class EmotionClassifier(nn.Module):
    """S1 as in the paper, with the attribute names of the authors' code."""

    def __init__(self, wavlm: WavLMModel) -> None:
        super().__init__()
        self.wavlm_model = wavlm
        self.pool = AttentiveStatisticsPooling(16)
        self.fc, self.ln, self.out = nn.Linear(32, 8), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors = self.wavlm_model(waveform).last_hidden_state
        hidden = self.ln(self.fc(self.pool(vectors, torch.tensor([vectors.shape[1]]))))
        return self.out(torch.relu(hidden))


def s1(wavlm: Path) -> SpeechSystem:
    encoder = {"model": str(wavlm), "min_seconds": 0.5}
    settings = {"family": "speech", "encoder": encoder, "head": {"hidden": 8}, "loss": {"name": "wfl"}}
    return parse(SpeechSystem, settings)


def fine_tuned_s1(wavlm: Path) -> EmotionClassifier:
    """Trained everywhere but in the convolutions."""
    torch.manual_seed(4)
    model = EmotionClassifier(WavLMModel.from_pretrained(wavlm)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "feature_extractor" not in name:
                weight += 0.05 * torch.randn_like(weight)
    return model


@pytest.mark.parametrize("old_names", [False, True])
def test_s1_gives_the_logits_of_its_model(wavlm: Path, parts: Path, old_names: bool, tmp_path: Path) -> None:
    """Also with torch's names of weight norm before 2.0."""
    model = fine_tuned_s1(wavlm)
    state = dict(model.state_dict())
    if old_names:
        for index, part in enumerate(("weight_g", "weight_v")):
            (name,) = [name for name in state if name.endswith(f"parametrizations.weight.original{index}")]
            state[name.replace(f"parametrizations.weight.original{index}", part)] = state.pop(name)
    row = {"path": str(parts / "a.wav"), "duration": 1.0}
    logits = logits_of(convert(s1(wavlm), state, tmp_path), [row])
    waveform = golden.arrays("beats")["a_waveform"] / np.float32(2**15)
    with torch.inference_mode():
        expected = model(torch.from_numpy(waveform)[None])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_folder_is_that_of_a_training(llama: Path, tmp_path: Path) -> None:
    """In half precision, with the prefix of several GPUs and a buffer that older versions save."""
    state = {f"module.{name}": value.half() for name, value in t2_file().items()}
    settings = t2(llama)
    model = convert(settings, {"model": state, "epoch": 3}, tmp_path)
    assert {path.name for path in model.iterdir()} == checkpoint.FILES
    assert read_model(model).settings == settings
    config = files.read_json(model / "config.json")
    assert list(config["class_counts"].values()) == fine_tuned.COUNTS and sum(fine_tuned.COUNTS) == 66_977
    assert config["notes"] == ["Not trained here: converted from authors.pth."]
    assert files.read_json(model / "metrics.json")["epochs"] == []
    classifier, _, _ = checkpoint.load_model(model, CPU)
    name = "encoder.model.base_model.model.layers.1.self_attn.v_proj.lora_B.default.weight"
    expected = t2_file()["llama.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight"]
    assert torch.equal(classifier.state_dict()[name], expected.half().float())


LORA = "llama.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pool.attention": None}, ["1 weights", "pool.attention (shape missing, expected [128, 1])"]),
        ({"fc.bias": torch.ones(5)}, ["fc.bias (shape [5], expected [1024])", "`head`"]),
        ({LORA: torch.ones(128, 4)}, ["lora_B.default.weight (shape [128, 4], expected [128, 8])"]),
        ({"gate.weight": torch.ones(2)}, ["gate.weight (shape [2], expected none)"]),
        ({"out.bias": torch.full((8,), torch.nan)}, ["out.bias", "not finite"]),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: dict[str, Tensor | None], words: list[str], llama: Path, tmp_path: Path
) -> None:
    state = {name: value for name, value in (t2_file() | change).items() if value is not None}
    with pytest.raises(UserError) as caught:
        convert(t2(llama), state, tmp_path)
    assert_names(str(caught.value), f"{tmp_path / 'authors.pth'}: ", *words)
    assert not (tmp_path / "model").exists()


def test_a_file_of_another_system_is_named(llama: Path, parts: Path, wavlm: Path, tmp_path: Path) -> None:
    salmonn = {"model": salmonn_parts.tensors(golden.listing("salmonn"))}
    for settings, state, words in (
        (t2(llama), salmonn, ("llama.base_model", "llama_model.base_model")),
        (s1(wavlm), t2_file(), ("wavlm_model.", "fc.bias")),
        (salmonn_parts.system(parts, head=GOLDEN_HEAD), salmonn, ("SALMONN's own checkpoint", "encoder.checkpoint")),
        (salmonn_parts.system(parts, head=GOLDEN_HEAD), t2_file(), ("not a checkpoint of SALMONN",)),
    ):
        with pytest.raises(UserError) as caught:
            convert(settings, state, tmp_path)
        assert_names(str(caught.value), "authors.pth: ", *words)


def test_an_unrelated_folder_is_not_replaced(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        convert(t2(llama), t2_file(), tmp_path)


@pytest.mark.slow
def test_the_workflow_converts_instead_of_training(llama: Path, tmp_path: Path) -> None:
    """The rule and its script; no corpus is needed."""
    torch.save(t2_file(), tmp_path / "llama8b.pth")
    system = json.loads(settings_json(t2(llama))) | {"fine_tuned": "llama8b.pth"}
    values = {"corpus": {"kind": "csv", "table": "none.csv"}, "systems": {"t2": system}, "ensembles": {}}
    (tmp_path / "config.json").write_text(json.dumps(values | {"transcripts": {"source": "corpus"}}))
    target = "results/t2/model/config.json"
    done = running.snakemake(tmp_path, target, configfile=tmp_path / "config.json")
    assert done.returncode == 0, done.stderr
    assert "rule train:" not in done.stderr
    assert files.read_json(tmp_path / target)["name"] == "t2"
    (tmp_path / "llama8b.pth").write_bytes(b"PK\x03\x04")  # another file: it is converted again
    failed = running.snakemake(tmp_path, target, configfile=tmp_path / "config.json")
    assert failed.returncode != 0 and "error: llama8b.pth: truncated" in failed.stdout + failed.stderr


def test_the_head_of_a_classifier_is_that_of_the_authors(llama: Path) -> None:
    classifier: Classifier = meta_models.classifier(t2(llama))
    ours = {name for name in classifier.saved() if not name.startswith(fine_tuned.ENCODER)}
    assert ours == pretrained_weights.HEAD == HEAD.keys()
