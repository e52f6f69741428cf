"""SUBESCO: names to labels, speakers to splits."""

from itertools import product
from pathlib import Path

import pytest

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data.corpora import prepare
from abhinaya.data.corpora.kinds import subesco
from abhinaya.runtime.errors import UserError
from support.speech import write_noise


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for speaker, emotion in product(("F_01_OISHI", "F_02_MONIKA", "M_01_ARIF"), subesco.CLASSES):
        write_noise(tmp_path / f"{speaker}_S_1_{emotion}_1.wav")
    write_noise(tmp_path / "noise.wav")
    return tmp_path


def corpus(root: Path, **settings: object) -> subesco.Subesco:
    speakers = {"validation_speakers": ["F_02"], "test_speakers": ["M_01"]}
    return config.parse(AnyCorpus, {"kind": "subesco", "root": str(root), **speakers, **settings})


def test_names_become_labels_and_speakers_splits(root: Path) -> None:
    manifest = prepare(corpus(root), seed=1, folder=root).manifest.set_index("FileName")
    assert len(manifest) == 3 * 7
    row = manifest.loc["F_02_MONIKA_S_1_HAPPY_1.wav"]
    assert (row["EmoClass"], row["SpkrID"], row["Gender"], row["split"]) == ("H", "F_02", "Female", "validation")
    assert manifest.groupby("SpkrID")["split"].unique().map(list).to_dict() == {
        "F_01": ["train"],
        "F_02": ["validation"],
        "M_01": ["test"],
    }


def test_wrong_settings_are_reported(root: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.test_speakers: .* no recordings of M_09"):
        subesco.read(corpus(root, test_speakers=["M_09"]))
    with pytest.raises(UserError, match=r"corpus\.root"):
        subesco.read(corpus(root / "nowhere"))
