"""RAVDESS speech (Livingstone & Russo, 2018, doi 10.1371/journal.pone.0196391), the folder as downloaded.

Files are `Actor_AA/MM-VV-EE-II-SS-RR-AA.wav`: modality (03 audio only), vocal channel (01 speech), emotion, intensity,
statement, repetition, actor (odd male, even female). WAV or FLAC, of any rate; videos and songs are ignored.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field, model_validator

from abhinaya.config.base import Place
from abhinaya.config.corpus import Corpus
from abhinaya.config.messages import WrongKey
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, check_unique
from abhinaya.labels import CLASSES as LETTERS
from abhinaya.runtime.errors import UserError

NAME = (
    r"^(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-\d\d-(?P<statement>\d\d)-\d\d-(?P<actor>\d\d)"
    r"\.(?:wav|flac)$"
)
CALM = "02"
CLASSES = {"01": "N", "03": "H", "04": "S", "05": "A", "06": "F", "07": "D", "08": "U"}
ACTORS = {"train": "train_actors", "development": "validation_actors", "test": "test_actors"}
FOLDS = (  # the test actors of EmoBox's folds
    (1, 11, 20, 21),
    (4, 10, 12, 14),
    (8, 9, 19, 23),
    (3, 5, 7, 24),
    (2, 15, 16, 18),
    (6, 13, 17, 22),
)
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


class Ravdess(Corpus):
    """RAVDESS speech, as downloaded."""

    assigned_by: ClassVar[str] = "the corpus.*_actors"

    kind: Literal["ravdess"]
    classes: list[Literal[LETTERS]] = Field(
        ["A", "D", "F", "H", "N", "S", "U"], min_length=1, description="as for every corpus"
    )
    root: Place = Field(description="folder that contains Actor_01/ and so on")
    train_actors: list[int] | None = Field(
        None, min_length=1, description="actors of the training split; null: `split: {folds: 6}` or `{by: speaker}`"
    )
    validation_actors: list[int] | None = Field(None, min_length=1, description="actors of the validation split")
    test_actors: list[int] | None = Field(None, min_length=1, description="actors of the test split")
    calm: Literal["drop", "neutral"] = Field("drop", description="drop calm recordings or label them as neutral")

    @model_validator(mode="after")
    def _actors_apart(self) -> "Ravdess":
        list_of: dict[int, str] = {}
        for key in ACTORS.values():
            if (getattr(self, key) is None) != (self.split.number is not None):
                raise WrongKey(key, "either give the actors of each split, or set `split` to {folds: 6}, not both")
            for actor in getattr(self, key) or []:
                if list_of.setdefault(actor, key) != key:
                    raise WrongKey(key, f"actor {actor} is also in `{list_of[actor]}`; keep it in one list")
        return self

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self)


def read(corpus: Ravdess) -> pd.DataFrame:
    """One row per audio-only speech recording (without the calm ones if `corpus.calm` is `drop`).

    Returns:
        `FileName`, `path`, `role` (by actor), `EmoClass`, `SpkrID`, `Gender`, `text` (the spoken statement).

    Raises:
        UserError: the folder is missing or has no such recordings; an actor has no recordings; a recording is
            duplicated or has an unknown emotion.
    """
    root = fields.folder(corpus.root, "corpus.root")
    paths = pd.Series(sorted(map(str, root.glob("Actor_*/*"))), dtype=object)
    names = paths.map(lambda path: Path(path).name).astype(object)
    parts = names.str.extract(NAME, flags=re.IGNORECASE)
    table = parts.assign(**{KEY: names, "path": paths})
    table = table[(table["modality"] == "03") & (table["channel"] == "01")]
    if table.empty:
        raise UserError(f"{root}: no speech recordings Actor_*/03-01-*.wav (or .flac) found; correct corpus.root")
    stems = table[KEY].str.rsplit(".", n=1).str[0]
    check_unique(table.assign(**{KEY: stems}), root)  # also finds a recording that is there as WAV and as FLAC
    classes = CLASSES | ({CALM: "N"} if corpus.calm == "neutral" else {})
    if corpus.calm == "drop":
        table = table[table["emotion"] != CALM]
    unknown = table[~table["emotion"].isin(classes)]
    if len(unknown):
        raise UserError(f"{unknown['path'].iloc[0]}: unknown emotion {unknown['emotion'].iloc[0]}; rename or remove it")
    actors = table["actor"].astype(int)
    return pd.DataFrame(
        {
            KEY: table[KEY],
            "path": table["path"],
            "role": actors.map(_roles(corpus, set(actors))),
            "EmoClass": table["emotion"].map(classes),
            "fold": actors.map({actor: fold for fold, test in enumerate(FOLDS, 1) for actor in test}),
            "SpkrID": "Actor_" + table["actor"],
            "Gender": (actors % 2).map({1: "Male", 0: "Female"}),
            "text": table["statement"].map(STATEMENTS),
        }
    ).reset_index(drop=True)


def _roles(corpus: Ravdess, present: set[int]) -> dict[int, str]:
    roles: dict[int, str] = {}
    for role, key in ACTORS.items():
        for actor in getattr(corpus, key) or []:
            if actor not in present:
                raise UserError(f"corpus.{key}: {corpus.root} has no recordings of actor {actor}; correct the list")
            roles[actor] = role
    return roles
