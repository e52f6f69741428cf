"""CREMA-D: names to labels, actors to splits."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from abhinaya import config
from abhinaya.config.corpus import AnyCorpus, CremaD
from abhinaya.data.corpora import crema_d, prepare
from abhinaya.runtime.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "AudioWAV").mkdir()
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,Caucasian,Not Hispanic\n"
        "1003,21,Female,Caucasian,Not Hispanic\n"
    )
    for actor, sentence, emotion in product((1001, 1002, 1003), ("DFA", "ITH"), crema_d.CLASSES):
        noise = np.random.default_rng(actor).normal(0, 0.1, 3200)
        soundfile.write(tmp_path / "AudioWAV" / f"{actor}_{sentence}_{emotion}_XX.wav", noise, 16_000)
    return tmp_path


def corpus(root: Path, **settings: object) -> CremaD:
    actors = {"validation_actors": [1002], "test_actors": [1003]}
    return config.parse(AnyCorpus, {"kind": "crema_d", "root": str(root), **actors, **settings})


def test_names_become_labels_and_actors_splits(root: Path) -> None:
    manifest = prepare(corpus(root), seed=1, folder=root).manifest.set_index("FileName")
    assert len(manifest) == 3 * 2 * 6
    row = manifest.loc["1002_ITH_HAP_XX.wav"]
    assert (row["EmoClass"], row["SpkrID"], row["Gender"], row["split"]) == ("H", "1002", "Female", "validation")
    assert manifest.groupby("SpkrID")["split"].unique().map(list).to_dict() == {
        "1001": ["train"],
        "1002": ["validation"],
        "1003": ["test"],
    }


def test_the_sentence_is_the_transcript(root: Path) -> None:
    references = prepare(corpus(root), seed=1, folder=root).references.set_index("FileName")
    assert references.loc["1001_DFA_SAD_XX.wav", "text"] == "Don't forget a jacket"


def test_wrong_settings_are_reported(root: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.test_actors: .* no recordings of actor 1091"):
        crema_d.read(corpus(root, test_actors=[1091]))
    with pytest.raises(UserError, match="`test_actors`: 1002 is in `validation_actors`, too"):
        corpus(root, test_actors=[1002])
    for file in root.glob("AudioWAV/*"):
        file.unlink()
    with pytest.raises(UserError, match="no recordings AudioWAV/"):
        crema_d.read(corpus(root))
