"""The trained systems of config/paper.yaml with random weights, and clips of noise to train them on."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from accelerate import PartialState

from abhinaya.config import load
from abhinaya.config.system import RANDOM, SalmonnSystem, SpeechSystem, TextSystem, TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.audio import RATE
from abhinaya.data.dataset import Utterances
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint, losses
from abhinaya.training.loop import Loop
from prove_gpu.architectures import SEED, architectures, folder_of, random_weights
from prove_gpu.arguments import ROOT

PAPER = ROOT / "config/paper.yaml"
NAMES = ("s1", "t2", "s2", "st1")
COUNTS = [6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948]  # the challenge's training split (docs/fidelity.md)
SENTENCE = "the door was open when we came home and nobody knew why it had been left like that all night"


def paper_systems() -> dict[str, TrainedSystem]:
    systems = load(PAPER).systems
    return {name: systems[name] for name in NAMES}


def with_architecture(settings: TrainedSystem, shapes: str, models: Path) -> TrainedSystem:
    """`settings` with models of random weights, whose configurations are written below `models`."""
    encoder = settings.encoder
    if isinstance(settings, SpeechSystem):
        drawn = {"model": f"{RANDOM}wavlm", "config": _without_type(architectures(shapes)[encoder.model])}
    elif isinstance(settings, TextSystem):
        drawn = {"model": str(folder_of(encoder.model, shapes, models))}
    else:
        audio = encoder.audio_encoder
        audio = audio.model_copy(
            update={
                "whisper": str(folder_of(audio.whisper, shapes, models)),
                "beats": f"{RANDOM}beats",
                "beats_config": architectures(shapes)["beats"],
                "cache": False,
            }
        )
        language_model = str(folder_of(encoder.language_model, shapes, models))
        qformer = architectures(shapes)["qformer"]
        drawn = {"audio_encoder": audio, "language_model": language_model, "checkpoint": None, "qformer": qformer}
    return settings.model_copy(update={"encoder": encoder.model_copy(update=drawn)})


def with_training(settings: TrainedSystem, **changed: object) -> TrainedSystem:
    return settings.model_copy(update={"training": settings.training.model_copy(update=changed)})


def write_clips(folder: Path, seconds: list[float]) -> pd.DataFrame:
    """Clips of noise in `folder`, one for each duration, as rows of a manifest with `text`. All are for training."""
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, duration in enumerate(seconds):
        path = folder / f"{index:04}.wav"
        soundfile.write(path, rng.normal(0, 0.1, round(duration * RATE)).astype(np.float32), RATE)
        row = {"path": str(path), "split": "train", "EmoClass": CLASSES[index % len(CLASSES)], "duration": duration}
        rows.append({schemas.KEY: path.name, **row, "text": text_of(duration)})
    return pd.DataFrame(rows)


def text_of(seconds: float) -> str:
    """As many words as are spoken in so many seconds, about three a second."""
    words = SENTENCE.split()
    return " ".join(words[index % len(words)] for index in range(round(3 * seconds)))


def loop(
    settings: TrainedSystem,
    rows: pd.DataFrame,
    device: torch.device,
    draw_on: torch.device,
    draw_dtype: torch.dtype | None = None,
    workers: int = 0,
) -> Loop:
    """A training of a system before its first step, built by our own code, with random weights.

    Args:
        settings: as `with_architecture` returns them.
        draw_on: where the weights of language models and Whisper are drawn: each device draws other numbers.
        draw_dtype: as for `random_weights`.
    """
    with random_weights(draw_on, draw_dtype):
        classifier, loader = checkpoint.build(settings, COUNTS, SEED, device)
    data = {split: Utterances(rows, loader, seed) for split, seed in (("train", SEED), ("validation", None))}
    return Loop(
        classifier,
        losses.build(settings.loss, COUNTS),
        data,
        settings.training,
        seed=SEED,
        checkpoints=Path("unused"),
        device=device,
        processes=PartialState(cpu=device.type == "cpu"),
        workers=workers,
    )


def is_speech_llm(settings: TrainedSystem) -> bool:
    return isinstance(settings, SalmonnSystem)


def _without_type(architecture: dict) -> dict:
    return {key: value for key, value in architecture.items() if key != "model_type"}
