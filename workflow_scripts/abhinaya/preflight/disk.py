"""Estimate of the disk space that the planned jobs need, compared with the free space."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders.salmonn.qformer import WINDOW, WINDOWS, covered
from abhinaya.preflight.models import existing
from abhinaya.runtime.errors import UserError

GB = 10**9
FLOAT = 4  # bytes
MOMENTS = 2  # AdamW's, of each trained number
CHECKPOINTS = 3  # the best, the last, and the next while it is written
VECTORS = 50  # a second, of BEATs and of speech encoders
TOKENS = 4  # a second of speech, of its transcript
WHISPER_SECONDS = 30  # that a Whisper with `window: full` encodes


@dataclass(frozen=True)
class Need:
    """Bytes to be written to a folder, with a description."""

    what: str
    folder: Path
    size: int


def cached(settings: FeatureSettings, widths: dict[str, int], utterances: int, durations: pd.Series | None) -> int:
    """Bytes of a corpus's cached features, about.

    Args:
        widths: numbers in a vector, by stream.
        durations: seconds; without them an upper limit: every clip as long as the crop.
    """
    encoder = settings.encoder
    if isinstance(settings, TextFeatures):
        tokens = pd.Series([encoder.max_tokens] * utterances) if durations is None else durations * TOKENS + 1
        numbers = tokens.fillna(encoder.max_tokens).clip(1, encoder.max_tokens).sum() * widths["vectors"]
        return int(numbers * FLOAT)
    if durations is None:
        seconds = pd.Series([encoder.max_seconds] * utterances, dtype=float)
    else:
        seconds = durations.fillna(encoder.max_seconds).clip(encoder.min_seconds, encoder.max_seconds)
    if not isinstance(settings, SalmonnFeatures):
        if encoder.window == "full":
            seconds = seconds.clip(lower=WHISPER_SECONDS)
        return int(seconds.sum() * VECTORS * widths["vectors"] * FLOAT)
    if encoder.speech_window == "clip":
        windows = (seconds * RATE).round().astype(int).map(covered)
    else:
        windows = pd.Series(WINDOWS, index=seconds.index)
    numbers = windows.sum() * WINDOW * widths["speech"] + seconds.sum() * VECTORS * widths["audio"]
    return int(numbers * (2 if encoder.precision == "fp16" else FLOAT))


def trained(classifier: nn.Module) -> int:
    """Bytes of the checkpoints and the final model of a `Classifier`."""
    saved = sum(weight.numel() for weight in classifier.saved().values())
    trainable = sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
    return FLOAT * (CHECKPOINTS * (saved + MOMENTS * trainable) + saved)


def check(needs: Iterable[Need]) -> list[tuple[str, str | UserError]]:
    """One result per file system: its folder, and a message or the error."""
    by_device: dict[int, list[Need]] = defaultdict(list)
    for need in needs:
        by_device[os.stat(existing(need.folder)).st_dev].append(need)
    results: list[tuple[str, str | UserError]] = []
    for group in by_device.values():
        folder = group[0].folder
        needed, free = sum(need.size for need in group), shutil.disk_usage(existing(folder)).free
        message = f"about {needed / GB:.1f} GB needed ({_listed(group)}), {free / GB:.1f} GB free"
        error = UserError(f"{folder}: {message}; free disk space, or use another disk (--directory, HF_HOME)")
        results.append((str(folder), error if needed > free else message))
    return results


def _listed(needs: list[Need]) -> str:
    return ", ".join(f"{need.what} {need.size / GB:.1f}" for need in needs)
