"""Estimate of the disk space that the planned jobs need, compared with the free space."""

import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders.salmonn.qformer import WINDOW, WINDOWS, covered
from abhinaya.preflight.models import existing
from abhinaya.runtime.errors import UserError

GB = 10**9
FLOAT = 4  # bytes
MOMENTS = 2  # numbers that AdamW stores for each trained weight
CHECKPOINTS = 3  # the best, the last, and the one being written
VECTORS = 50  # per second, of BEATs and of speech encoders
TOKENS = 4  # per second of speech, of its transcript
WHISPER_SECONDS = 30  # encoded by Whisper with `window: full`


@dataclass(frozen=True)
class Need:
    """Bytes to be written to a folder, with a description."""

    what: str
    folder: Path
    size: int


def cached(settings: FeatureSettings, widths: dict[str, int], utterances: int, durations: pd.Series | None) -> int:
    """Estimated size of a corpus's cached features in bytes.

    Args:
        widths: size of a vector, by stream.
        durations: in seconds; an unknown duration counts as the maximum length, None as all unknown.
    """
    encoder = settings.encoder
    durations = pd.Series([np.inf] * utterances) if durations is None else durations.fillna(np.inf)
    if isinstance(settings, TextFeatures):
        numbers = (durations * TOKENS + 1).clip(1, encoder.max_tokens).sum() * widths["vectors"]
    else:
        seconds = durations.clip(encoder.min_seconds, encoder.max_seconds)
        if isinstance(settings, SalmonnFeatures):
            samples = (seconds * RATE).round().astype(int)
            windows = samples.map(covered).sum() if encoder.speech_window == "clip" else WINDOWS * len(samples)
            numbers = windows * WINDOW * widths["speech"] + seconds.sum() * VECTORS * widths["audio"]
        else:
            encoded = seconds.clip(lower=WHISPER_SECONDS) if encoder.window == "full" else seconds
            numbers = encoded.sum() * VECTORS * widths["vectors"]
    return int(numbers * np.dtype(settings.dtype).itemsize)


def trained(classifier: nn.Module) -> int:
    """Size in bytes of the checkpoints and the final model of a `Classifier`."""
    saved = sum(weight.numel() for weight in classifier.saved().values())
    trainable = sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
    return FLOAT * (CHECKPOINTS * (saved + MOMENTS * trainable) + saved)


def by_file_system(needs: Iterable[Need]) -> Collection[list[Need]]:
    """The needs of each file system."""
    by_device: dict[int, list[Need]] = defaultdict(list)
    for need in needs:
        by_device[os.stat(existing(need.folder)).st_dev].append(need)
    return by_device.values()


def check(needs: list[Need]) -> str:
    """Compare the needs of one file system with its free space.

    Raises:
        UserError: there is not enough space.
    """
    needed, free = sum(need.size for need in needs), shutil.disk_usage(existing(needs[0].folder)).free
    listed = ", ".join(f"{need.what} {need.size / GB:.1f}" for need in needs)
    message = f"about {needed / GB:.1f} GB needed ({listed}), {free / GB:.1f} GB free"
    if needed > free:
        raise UserError(f"{message}; free disk space, or use another disk (--directory, HF_HOME)")
    return message
