"""A few clips of about a second, and small systems that train on them in a few seconds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from safetensors.torch import load_file

from abhinaya.config import parse
from abhinaya.config.system import SpeechSystem, TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY
from abhinaya.modeling import checkpoint
from abhinaya.runtime import files
from abhinaya.training.train import train

torch.set_num_threads(1)  # several threads are slower for such small tensors

RATE = 16_000
PITCH = {"A": 900.0, "H": 400.0, "N": 150.0, "S": 2500.0}  # Hz; training lacks S
SPLITS = {"train": "AAAAHHHNNNNN", "validation": "AHNSAHN", "test": "NHAS"}
WAVLM = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
NOT_RANDOM = {  # a training without randomness
    "apply_spec_augment": False,
    "layerdrop": 0.0,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


class Stop(Exception):
    """Ends a training where a killed process would end."""


def make_manifest(folder: Path, splits: dict[str, str] = SPLITS) -> pd.DataFrame:
    """Noisy tones whose pitch depends on the class, 0.8 to 1.2 s long."""
    generator = np.random.default_rng(5)
    rows = []
    for split, letters in splits.items():
        for index, letter in enumerate(letters):
            samples = int(generator.integers(0.8 * RATE, 1.2 * RATE))
            tone = 0.3 * np.sin(2 * np.pi * PITCH[letter] * np.arange(samples) / RATE + generator.uniform(0, 6))
            name = f"{split}_{index:02d}.wav"
            soundfile.write(folder / name, tone + 0.02 * generator.standard_normal(samples), RATE)
            row = {"path": str(folder / name), "split": split, "EmoClass": letter, "duration": samples / RATE}
            rows.append({KEY: name, **row})
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


def system(
    encoder: dict | None = None,
    config: dict | None = None,
    loss: dict | None = None,
    head: dict | None = None,
    **training: object,
) -> SpeechSystem:
    """A small WavLM, by default with dropout, layer drop and SpecAugment."""
    encoder = {"model": "random:wavlm", "min_seconds": 0.3, "max_seconds": 0.5} | (encoder or {})
    if encoder["model"].startswith("random:"):
        encoder["config"] = (WHISPER if encoder["model"] == "random:whisper" else WAVLM) | (config or {})
    defaults = {"epochs": 3, "learning_rate": 0.003, "effective_batch": 4, "batch_size": 2, "eval_batch_size": 4}
    return parse(
        SpeechSystem,
        {
            "family": "speech",
            "encoder": encoder,
            "head": {"hidden": 16, "dropout": 0.1, "pooling": "attentive", "attention_init": 0.1} | (head or {}),
            "loss": loss or {"name": "wce"},
            "training": defaults | training,
        },
    )


def run(settings: TrainedSystem, manifest: pd.DataFrame, folder: Path, seed: int = 7) -> Path:
    """Train in this process; return the model folder."""
    train("tiny", settings, manifest, seed, folder / "checkpoints", folder / "model", cpus=1)
    return folder / "model"


def epochs(model: Path) -> list[dict]:
    """The metrics of each epoch, without times."""
    metrics = files.read_json(model / "metrics.json")["epochs"]
    return [{key: value for key, value in epoch.items() if not key.endswith("seconds")} for epoch in metrics]


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / checkpoint.WEIGHTS)


def assert_same(model: Path, other: Path) -> None:
    """The weights are the same bytes, and the metrics of each epoch are equal."""
    assert (model / checkpoint.WEIGHTS).read_bytes() == (other / checkpoint.WEIGHTS).read_bytes()
    assert epochs(model) == epochs(other)


def command(settings: TrainedSystem, manifest: pd.DataFrame, folder: Path) -> list[str]:
    """The arguments of train.py for `run`; writes the tables they refer to."""
    transcripts = []
    if settings.reads_transcripts:
        files.write_parquet(manifest, schemas.TRANSCRIPTS, folder / "transcripts.parquet")
        transcripts = ["--transcripts", f"{folder}/transcripts.parquet"]
    schemas.write_manifest(manifest.drop(columns="text", errors="ignore"), folder / "manifest.parquet")
    return [
        *("--name", "tiny", "--settings", as_json(settings), "--manifest", f"{folder}/manifest.parquet", *transcripts),
        *("--seed", "7", "--checkpoints", f"{folder}/checkpoints", "--output", f"{folder}/model", "--cpus", "1"),
    ]


def as_json(settings: TrainedSystem) -> str:
    return json.dumps(settings.model_dump(mode="json"))
