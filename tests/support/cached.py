"""Feature caches, as written by the rule `extract_features`."""

from pathlib import Path

import pandas as pd
import torch

from abhinaya.config import features
from abhinaya.config.features import FeatureSettings
from abhinaya.config.system import TrainedSystem
from abhinaya.config.zero_shot import SalmonnZeroShot
from abhinaya.modeling import encoders
from abhinaya.modeling.feature_cache import extract_features
from abhinaya.training.train import train

CPU = torch.device("cpu")


def settings_of(system: TrainedSystem | SalmonnZeroShot, seed: int = 7) -> FeatureSettings:
    """The feature settings of `system`; of a speech LLM as with `cache: true`."""
    if system.family.startswith("salmonn"):
        return features.SalmonnFeatures(family="salmonn", encoder=system.encoder.audio_encoder)
    return features.of(system, seed)


def extract(rows: pd.DataFrame, settings: FeatureSettings, index: Path) -> Path:
    loader, encoder, bf16 = encoders.frozen(settings, CPU)
    extract_features(rows, settings, loader, encoder, index, 0, bf16)
    return index


def cached(
    system: TrainedSystem | SalmonnZeroShot, manifest: pd.DataFrame, folder: Path, shards: int = 2, seed: int = 7
) -> list[Path]:
    """Extract features; return the indices of the shards."""
    settings = settings_of(system, seed)
    return [extract(manifest.iloc[n::shards], settings, folder / f"{n:03}.parquet") for n in range(shards)]


def trained(
    system: TrainedSystem, manifest: pd.DataFrame, folder: Path, indices: list[Path] | tuple = (), seed: int = 7
) -> Path:
    """Train in this process; return the model folder."""
    train("tiny", system, manifest, seed, folder / "checkpoints", folder / "model", cpus=1, features=indices)
    return folder / "model"
