"""The same recording or speaker twice in a corpus is counted, and an error on request."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data.corpora import overlaps, prepare
from abhinaya.preflight.corpus import survey
from abhinaya.runtime.errors import UserError

SPLITS = ("train", "train", "validation", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(len(SPLITS)):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, 0.1, 3200), 16_000)
    return tmp_path


def corpus(folder: Path, extra: list[tuple[str, str, str, str]], **keys: object) -> object:
    """A corpus of four recordings and speakers, and `extra` rows (path, emotion, split, speaker)."""
    rows = [(f"{number}.wav", "AH"[number % 2], split, f"s{number}") for number, split in enumerate(SPLITS)]
    table = pd.DataFrame([*rows, *extra], columns=["path", "EmoClass", "split", "SpkrID"])
    table.to_csv(folder / "c.csv", index=False)
    return config.parse(
        AnyCorpus, {"kind": "csv", "table": str(folder / "c.csv"), "classes": ["A", "H"], "max_rejected": 0.0} | keys
    )


def kinds(settings: object, folder: Path) -> dict[str, int]:
    found = prepare(settings, 0, folder).summary["overlaps"]
    return {entry["what"]: entry["count"] for entry in found}


def test_nothing_is_found_in_a_clean_corpus(folder: Path) -> None:
    settings = corpus(folder, [], overlaps="error")
    assert kinds(settings, folder) == {}
    assert ";" not in survey(settings, 0, None).message


@pytest.mark.parametrize("how", ["path", "symbolic link", "link", "copy"])
def test_one_recording_with_two_names_is_found(how: str, folder: Path) -> None:
    name = "./0.wav" if how == "path" else "again.wav"
    {"symbolic link": os.symlink, "link": os.link, "copy": shutil.copy, "path": lambda *_: None}[how](
        folder / "0.wav", folder / "again.wav"
    )
    settings = corpus(folder, [(name, "H", "test", "s9")])
    expected = dict.fromkeys(("recordings with several names", "recordings in several splits"), 1)
    assert kinds(settings, folder) == expected | {"recordings with several emotions": 1}
    if how == "path":
        assert "recording in several splits (./0.wav = 0.wav)" in survey(settings, 0, None).message
    strict = corpus(folder, [(name, "H", "test", "s9")], overlaps="error")
    with pytest.raises(UserError, match=r"0\.wav.*corpus\.overlaps"):
        prepare(strict, 0, folder)


def test_speakers_in_train_and_another_split_are_found(folder: Path) -> None:
    soundfile.write(folder / "4.wav", np.full(4000, 0.1), 16_000)
    settings = corpus(folder, [("4.wav", "A", "test", "s0")])
    assert kinds(settings, folder) == {"speakers in train and test": 1}
    assert overlaps.sentence(prepare(settings, 0, folder).summary["overlaps"][0]) == "1 speaker in train and test (s0)"
