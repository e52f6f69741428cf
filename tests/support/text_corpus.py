"""A small LLaMA with the golden weights, and a few transcripts to train on."""

from pathlib import Path

import pandas as pd
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from abhinaya.config import parse
from abhinaya.config.system import TextSystem
from abhinaya.data.schemas import KEY
from support import golden

torch.set_num_threads(1)  # as in speech_corpus

WORDS = {"A": "I am so angry about it", "H": "I was happy", "N": "it is on the table by the door", "S": ""}
SPLITS = {"train": "AAAAHHHNNNNNSS", "validation": "AHNSAHN", "test": "NHAS"}


def save_llama(folder: Path) -> None:
    """Write the LLaMA in the format of published models, with a SentencePiece tokenizer."""
    facts = golden.listing("text")
    model = LlamaForCausalLM(LlamaConfig(**facts["config"]))
    weights = golden.weights(facts["seed"], facts["llama"])
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(golden.FOLDER / "tokenizer").save_pretrained(folder)


def make_manifest(folder: Path) -> pd.DataFrame:
    """Rows with `text`; the audio files do not exist."""
    rows = []
    for split, letters in SPLITS.items():
        for index, letter in enumerate(letters):
            name = f"{split}_{index:02d}.wav"
            text = " ".join([WORDS[letter]] * (1 + index % 3)).strip()
            row = {"path": str(folder / name), "split": split, "EmoClass": letter, "duration": 1.0, "text": text}
            rows.append({KEY: name, **row})
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


def system(model: Path, encoder: dict | None = None, **training: object) -> TextSystem:
    defaults = {"epochs": 3, "learning_rate": 0.003, "effective_batch": 4, "batch_size": 2, "eval_batch_size": 4}
    return parse(
        TextSystem,
        {
            "family": "text",
            "encoder": {"model": str(model)} | (encoder or {}),
            "head": {"hidden": 16, "dropout": 0.1, "pooling": "attentive", "attention_init": 0.1},
            "loss": {"name": "vs"},
            "training": defaults | training,
        },
    )
