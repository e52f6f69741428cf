"""The complete SALMONN encoder: from published files and golden clips to golden logits, alone and in a batch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlamaForCausalLM, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from abhinaya.config.system import FramesHead, SalmonnSystem
from abhinaya.data.dataset import collate
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import speech_llm as salmonn
from abhinaya.runtime.errors import UserError
from support import golden, salmonn_parts
from support.messages import assert_names
from support.salmonn_parts import CASES, CLIPS, system
from support.speech_corpus import WAVLM

CPU = torch.device("cpu")
ARRAYS = golden.arrays("salmonn")


def build(settings: SalmonnSystem) -> tuple[salmonn.PromptLoader, salmonn.SpeechLlm]:
    loader, encoder = salmonn.build(settings.encoder, 7, CPU, bf16=False)
    return loader, encoder.eval()


def batch(loader: salmonn.PromptLoader, folder: Path, clips: list[str], texts: list[str] | None = None) -> dict:
    rows = pd.DataFrame({"path": [str(folder / f"{clip}.wav") for clip in clips], "duration": 1.0})
    prepared, _ = loader.prepare(rows.assign(text=texts or ""))
    made = collate([{**loader.load(row, None), "labels": 0} for row in prepared.to_dict("records")])
    del made["labels"]
    return made


def golden_classifier(encoder: torch.nn.Module) -> Classifier:
    facts = golden.listing("head")
    classifier = Classifier(encoder, FramesHead(), [1] * 8).eval()
    classifier.load_state_dict(salmonn_parts.tensors(facts), strict=False)
    return classifier


@pytest.mark.parametrize("kind", ["s2", "st1"])
@torch.inference_mode()
def test_golden_clips_give_golden_hidden_states_and_logits(parts: Path, kind: str) -> None:
    loader, encoder = build(system(parts, {"transcript": kind == "st1"}))
    texts = [CASES[f"st1_{clip}"]["answer"].partition("<Transcript> ")[2] for clip in CLIPS]
    inputs = batch(loader, parts, list(CLIPS), texts)
    vectors, lengths = encoder(**inputs)
    logits = golden_classifier(encoder)(**inputs)["logits"]
    for row, clip in enumerate(CLIPS):
        expected = ARRAYS[f"{kind}_{clip}_hidden"]
        assert lengths[row] == len(expected)
        np.testing.assert_allclose(vectors[row, : lengths[row]], expected, atol=1e-4)
        np.testing.assert_allclose(logits[row], ARRAYS[f"{kind}_{clip}_logits"], atol=1e-5)


@pytest.mark.parametrize("audio_encoder", [{}, {"speech_window": "clip"}, {"speech_window": "clip", "window": "clip"}])
@torch.inference_mode()
def test_result_does_not_depend_on_the_batch(parts: Path, audio_encoder: dict) -> None:
    loader, encoder = build(system(parts, {"transcript": True}, audio_encoder))
    texts = ["short", "a good deal longer than the other ones", ""]
    together, lengths = encoder(**batch(loader, parts, list(CLIPS), texts))
    for row, clip in enumerate(CLIPS):
        alone, (length,) = encoder(**batch(loader, parts, [clip], [texts[row]]))
        assert length == lengths[row]
        np.testing.assert_allclose(together[row, :length], alone[0], atol=5e-5)


@torch.inference_mode()
def test_speech_window_clip_keeps_the_first_tokens(parts: Path) -> None:
    """`speech_window: clip` removes tokens and does not change the others."""
    features = {}
    for name in ("full", "clip"):
        loader, encoder = build(system(parts, None, {"speech_window": name}))
        inputs = batch(loader, parts, ["b"])
        features[name], _ = encoder(**inputs)
    assert features["full"].shape[1] - features["clip"].shape[1] == 88 - 9  # 3.007 s: 151 frames, 9 windows
    np.testing.assert_allclose(features["full"][0, : 11 + 9], features["clip"][0, : 11 + 9], atol=1e-5)


def test_audio_encoders_are_frozen_and_stay_in_evaluation_mode(parts: Path) -> None:
    _, encoder = build(system(parts))
    encoder.train()
    assert not any(module.training for module in encoder.audio_encoder.modules())
    assert encoder.speech.training and encoder.model.training
    trained = {name.partition(".")[0] for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert trained == {"speech", "model"}
    assert all("lora_" in n for n, w in encoder.named_parameters() if w.requires_grad and n.startswith("model."))


def test_a_clip_shorter_than_a_second_is_padded(parts: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(3000), 16_000)
    loader, _ = build(system(parts))
    assert len(loader.load({"path": str(tmp_path / "a.wav"), "answer": [1]}, None)["waveform"]) == 16_000


def test_question_and_crop_are_random_only_in_training(parts: Path) -> None:
    loader, _ = build(system(parts, None, {"max_seconds": 2.0}))
    row = {"path": str(parts / "c.wav"), "answer": [1, 2]}
    samples = [loader.load(row, np.random.default_rng(seed)) for seed in range(12)]
    assert len({tuple(each["after"].tolist()) for each in samples}) == 2
    assert len({float(each["waveform"].sum()) for each in samples}) > 6
    still = [loader.load(row, None) for _ in range(2)]
    assert torch.equal(still[0]["waveform"], still[1]["waveform"])
    assert all(len(each["waveform"]) == 32_000 for each in samples + still)


def test_parts_that_do_not_fit_together(parts: Path, tmp_path: Path) -> None:
    def refused(*settings: dict | None) -> str:
        with pytest.raises(UserError) as caught:
            build(system(parts, *settings))
        return str(caught.value)

    assert_names(refused({"layer": 1}), "salmonn.pth: ", "weights do not fit")
    WavLMModel(WavLMConfig(**WAVLM)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    assert_names(refused(None, {"whisper": str(tmp_path)}), str(tmp_path), "`audio_encoder.whisper`")
    assert_names(refused(None, {"beats": str(parts / "none.pt")}), "none.pt: file not found")


def test_checkpoints_may_be_in_the_home_folder(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(parts))
    build(system(parts, {"checkpoint": "~/salmonn.pth"}, {"beats": "~/beats.pt"}))
    with pytest.raises(UserError, match=f"{parts}: is a folder"):
        build(system(parts, None, {"beats": str(parts)}))


def test_a_random_qformer_does_not_depend_on_lora(parts: Path) -> None:
    samples = [build(system(parts, {"checkpoint": None, "lora": {"r": r}}))[1].speech.state_dict() for r in (4, 8)]
    assert all(torch.equal(samples[0][name], samples[1][name]) for name in samples[0])


def variant(parts: Path, folder: Path, **changed: object) -> dict:
    """The LLaMA with another configuration, in `folder`."""
    shutil.copytree(parts / "llama", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    return {"language_model": str(folder)}


@pytest.mark.parametrize("question", [None, "How?"])
@pytest.mark.parametrize("transcript", [False, True])
def test_a_tokenizer_of_another_model(question: str | None, transcript: bool, parts: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(parts / "llama")
    model.resize_token_embeddings(40)
    model.save_pretrained(tmp_path)
    for file in (parts / "llama").glob("*tok*"):
        shutil.copy(file, tmp_path)
    settings = system(parts, {"language_model": str(tmp_path), "transcript": transcript})
    loader, _ = salmonn.build(settings.encoder, 7, CPU, False, question=question)
    with pytest.raises(UserError) as caught:
        loader.prepare(pd.DataFrame({"text": ["a word"]}))
    assert_names(str(caught.value), str(tmp_path), "token id", "40", "tokenizer")


@pytest.mark.parametrize(
    ("encoder", "audio_encoder", "fix"),
    [
        ({}, {}, "use a language model with a higher limit"),
        ({}, {"speech_window": "clip", "max_seconds": 28.0}, "lower `audio_encoder.max_seconds`"),
        ({"transcript": True}, {}, "lower `max_text_tokens`"),
        (
            {"transcript": True},
            {"speech_window": "clip", "max_seconds": 28.0},
            "lower `max_text_tokens` or `audio_encoder.max_seconds`",
        ),
    ],
)
def test_more_tokens_than_the_limit_of_the_llama(
    encoder: dict, audio_encoder: dict, fix: str, parts: Path, tmp_path: Path
) -> None:
    prompt = build(system(parts))[0].prompt
    (answer,), _ = prompt.answers()
    windows = 83 if audio_encoder else 88  # of 340 ms, for 28 s
    tokens = len(prompt.before) + windows + max(map(len, prompt.after))
    tokens += 300 if encoder else len(answer)
    enough = variant(parts, tmp_path / "enough", max_position_embeddings=tokens)
    build(system(parts, encoder | enough, audio_encoder))
    short = variant(parts, tmp_path / "short", max_position_embeddings=tokens - 1)
    with pytest.raises(UserError) as raised:
        build(system(parts, encoder | short, audio_encoder))
    assert_names(str(raised.value), repr(short["language_model"]), f"{tokens - 1} tokens", f"may be {tokens}; {fix}")


def test_a_llama_with_a_low_limit_is_reported(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="limit is 64 tokens"):
        build(system(parts, variant(parts, tmp_path / "llama", max_position_embeddings=64)))


def test_the_fixed_answer_is_not_truncated(parts: Path) -> None:
    (answer,), _ = build(system(parts))[0].prompt.answers()
    build(system(parts, {"max_text_tokens": len(answer)}))
    with pytest.raises(UserError) as caught:
        build(system(parts, {"max_text_tokens": 2}))
    assert_names(str(caught.value), "`max_text_tokens` 2", f"raise it to {len(answer)}")
    build(system(parts, {"max_text_tokens": 2, "transcript": True}))
