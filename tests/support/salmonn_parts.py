"""SALMONN's parts with the golden weights, in files of the published formats, and a corpus of the golden clips."""

from pathlib import Path

import pandas as pd
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from abhinaya.config import parse
from abhinaya.config.system import SalmonnSystem
from abhinaya.data.schemas import KEY
from abhinaya.modeling.encoders.salmonn import pretrained_weights
from support import golden
from support.text_corpus import save_llama

torch.set_num_threads(1)

CASES = golden.listing("salmonn")["cases"]
CLIPS = ("a", "b", "c")
SPLITS = {"train": "AAHHNNSS", "validation": "AHNS", "test": "AHNS"}


def tensors(facts: dict, key: str = "weights") -> dict[str, torch.Tensor]:
    values = golden.weights(facts["seed"], facts[key])
    return {name: torch.from_numpy(value) for name, value in values.items()}


def save(folder: Path) -> None:
    """Write `whisper/`, `beats.pt`, `llama/`, `salmonn.pth` and the clips `a.wav`, `b.wav`, `c.wav`."""
    facts = golden.listing("whisper")
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "vocab_size": 64}
    whisper = WhisperModel(WhisperConfig(**decoder, **special, **facts["config"]))
    features = {name.removeprefix("model."): weight for name, weight in tensors(facts).items()}
    unused = whisper.load_state_dict(features, strict=False)
    assert not unused.unexpected_keys and all(name.startswith("decoder.") for name in unused.missing_keys)
    whisper.save_pretrained(folder / "whisper")
    WhisperFeatureExtractor().save_pretrained(folder / "whisper")
    facts = golden.listing("beats")
    torch.save({"cfg": facts["config"], "model": tensors(facts)}, folder / "beats.pt")
    torch.save({"model": tensors(golden.listing("salmonn")), "epoch": 1}, folder / "salmonn.pth")
    save_llama(folder / "llama")
    arrays = golden.arrays("beats")
    for clip in CLIPS:
        soundfile.write(folder / f"{clip}.wav", arrays[f"{clip}_waveform"], 16_000, subtype="PCM_16")


def published(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entry `model` of SALMONN's checkpoint, from weights with the names of an encoder."""
    state = {"speech_Qformer.bert.embeddings.position_ids": torch.arange(512)[None]}
    for name, value in weights.items():
        theirs, ours = next(pair for pair in pretrained_weights.PREFIXES.items() if name.startswith(pair[1]))
        state[theirs + name.removeprefix(ours).replace("attention.attention.", "attention.self.")] = value
    return state


def fine_tuned(weights: dict[str, torch.Tensor], head: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The authors' checkpoint, from the weights of an encoder and of a head."""
    return {pretrained_weights.FINE_TUNED + name: value for name, value in published(weights).items()} | head


def system(
    folder: Path,
    encoder: dict | None = None,
    audio_encoder: dict | None = None,
    head: dict | None = None,
    **training: object,
) -> SalmonnSystem:
    defaults = {"epochs": 2, "learning_rate": 0.001, "effective_batch": 4, "batch_size": 2, "eval_batch_size": 4}
    audio = {"whisper": str(folder / "whisper"), "beats": str(folder / "beats.pt")} | (audio_encoder or {})
    parts = {"audio_encoder": audio, "language_model": str(folder / "llama"), "checkpoint": str(folder / "salmonn.pth")}
    return parse(
        SalmonnSystem,
        {
            "family": "salmonn",
            "encoder": parts | (encoder or {}),
            "head": {"hidden": 16, "attention_init": 0.1} | (head or {}),
            "loss": {"name": "wfl"},
            "training": defaults | training,
        },
    )


def make_manifest(folder: Path) -> pd.DataFrame:
    """The golden clips, repeated, with emotions and `text`."""
    durations = {clip: soundfile.info(folder / f"{clip}.wav").duration for clip in CLIPS}
    rows = []
    for split, letters in SPLITS.items():
        for index, letter in enumerate(letters):
            clip = {"A": "a", "H": "b", "N": "c", "S": "b"}[letter]
            row = {"path": str(folder / f"{clip}.wav"), "split": split, "EmoClass": letter}
            text = " ".join([f"word {letter}"] * (1 + index % 2))
            rows.append({KEY: f"{split}_{index}.wav", **row, "duration": durations[clip], "text": text})
    return pd.DataFrame(rows)
