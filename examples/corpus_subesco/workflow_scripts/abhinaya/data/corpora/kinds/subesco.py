"""SUBESCO (Sultana et al., 2021, doi 10.1371/journal.pone.0250173), the folder as downloaded.

Files are `F_02_MONIKA_S_1_ANGRY_5.wav`: gender, number and name of the speaker, sentence, emotion, take. Files of other
names are skipped.
"""

from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from abhinaya.config.corpus import Corpus
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY
from abhinaya.labels import CLASSES as LETTERS
from abhinaya.runtime.errors import UserError

NAME = r"^(?P<speaker>[FM]_\d\d)_[A-Z]+_S_\d+_(?P<emotion>[A-Z]+)_\d+\.wav$"
CLASSES = {"ANGRY": "A", "DISGUST": "D", "FEAR": "F", "HAPPY": "H", "NEUTRAL": "N", "SAD": "S", "SURPRISE": "U"}
GENDERS = {"F": "Female", "M": "Male"}


class Subesco(Corpus):
    """SUBESCO, acted Bangla speech, the folder as downloaded."""

    assigned_by: ClassVar[str] = "corpus.validation_speakers and corpus.test_speakers"

    kind: Literal["subesco"]
    classes: list[Literal[LETTERS]] = Field(sorted(CLASSES.values()), min_length=1, description="as for every corpus")
    root: str = Field(description="folder that contains the recordings")
    validation_speakers: list[str] = Field(min_length=1, description="speakers of the validation split, such as F_02")
    test_speakers: list[str] = Field(
        min_length=1, description="speakers of the test split; all others are for training"
    )

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self)


def read(corpus: Subesco) -> pd.DataFrame:
    """One row per recording.

    Returns:
        `FileName`, `path`, `role` (by speaker), `EmoClass`, `SpkrID`, `Gender`.

    Raises:
        UserError: the folder is missing; it has no recordings, or none of a speaker in the configuration.
    """
    root = fields.folder(corpus.root, "corpus.root")
    paths = pd.Series(sorted(map(str, root.glob("**/*.wav"))), dtype=object)
    names = paths.map(lambda path: Path(path).name).astype(object)
    table = names.str.extract(NAME).assign(**{KEY: names, "path": paths})
    table = table[table["emotion"].isin(CLASSES)]
    if table.empty:
        raise UserError(f"{root}: no recordings such as F_02_MONIKA_S_1_ANGRY_5.wav found; correct corpus.root")
    return pd.DataFrame(
        {
            KEY: table[KEY],
            "path": table["path"],
            "role": table["speaker"].map(_held_out(corpus, set(table["speaker"]))).fillna("train"),
            "EmoClass": table["emotion"].map(CLASSES),
            "SpkrID": table["speaker"],
            "Gender": table["speaker"].str[0].map(GENDERS),
        }
    ).reset_index(drop=True)


def _held_out(corpus: Subesco, present: set[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, key in (("development", "validation_speakers"), ("test", "test_speakers")):
        for speaker in getattr(corpus, key):
            if speaker not in present:
                raise UserError(f"corpus.{key}: {corpus.root} has no recordings of {speaker}; correct the list")
            roles[speaker] = role
    return roles
