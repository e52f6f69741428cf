"""CREMA-D (Cao et al., 2014, doi 10.1109/TAFFC.2014.2336244), the folder as downloaded.

Files are `AudioWAV/AAAA_SSS_EEE_LL.wav`: actor, sentence, emotion, level; `VideoDemographics.csv` describes the
actors. Files of other names are skipped.
"""

from pathlib import Path

import pandas as pd

from abhinaya.config.corpus import CremaD
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError

NAME = r"^(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}\.wav$"
CLASSES = {"ANG": "A", "DIS": "D", "FEA": "F", "HAP": "H", "NEU": "N", "SAD": "S"}
SENTENCES = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}


def read(corpus: CremaD) -> pd.DataFrame:
    """One row per recording.

    Returns:
        `FileName`, `path`, `role` (by actor), `EmoClass`, `SpkrID`, `Gender`, `text` (the sentence that is read out).

    Raises:
        UserError: the folder or its table of actors is absent; there are no recordings, or none of an actor that the
            configuration names.
    """
    root = fields.folder(corpus.root, "corpus.root")
    people = fields.read_table(root / "VideoDemographics.csv", ("ActorID", "Sex")).set_index("ActorID")
    paths = pd.Series(sorted(map(str, root.glob("AudioWAV/*.wav"))), dtype=object)
    names = paths.map(lambda path: Path(path).name).astype(object)
    table = names.str.extract(NAME).assign(**{KEY: names, "path": paths})
    table = table[table["emotion"].isin(CLASSES)]
    if table.empty:
        raise UserError(f"{root}: no recordings AudioWAV/1001_DFA_ANG_XX.wav and so on; correct corpus.root")
    return pd.DataFrame(
        {
            KEY: table[KEY],
            "path": table["path"],
            "role": table["actor"].map(_held_out(corpus, set(table["actor"]))).fillna("train"),
            "EmoClass": table["emotion"].map(CLASSES),
            "SpkrID": table["actor"],
            "Gender": table["actor"].map(people["Sex"]),
            "text": table["sentence"].map(SENTENCES),
        }
    ).reset_index(drop=True)


def _held_out(corpus: CremaD, present: set[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, key in (("development", "validation_actors"), ("test", "test_actors")):
        for actor in map(str, getattr(corpus, key)):
            if actor not in present:
                raise UserError(f"corpus.{key}: {corpus.root} has no recordings of actor {actor}; correct the list")
            roles[actor] = role
    return roles
