"""CREMA-D (Cao et al., 2014, doi 10.1109/TAFFC.2014.2336244).

AudioWAV/1001_DFA_ANG_XX.wav   actor, sentence, intended emotion, level
VideoDemographics.csv          ActorID,Age,Sex,… (optional)
finishedResponses.csv          a row per rating: clipName, queryType (1: voice only), respEmo, … (optional)
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders, votes
from abhinaya.data.schemas import KEY, VOTES
from abhinaya.runtime.errors import UserError

NAME = r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}"
LABELS = {"ang": "A", "dis": "D", "fea": "F", "hap": "H", "neu": "N", "sad": "S"}
LAST_ACTORS = (1018, 1036, 1054, 1072, 1091)  # of the five folds of EMO-SUPERB
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
RATINGS = "finishedResponses.csv"


class CremaD(FolderCorpus):
    """CREMA-D, the folder as downloaded; five folds of actors, those of EMO-SUPERB."""

    kind: Literal["crema_d"]
    split: Split = Split(folds=5)
    truth: Literal["intended", "perceived"] = Field(
        "intended",
        description="`intended`: the emotion that the actor was asked for; `perceived`: the most frequent rating of "
        "the voice alone (ties: no agreement)",
    )

    @property
    def label_files(self) -> list[str]:
        return [*super().label_files, str(Path(self.root, RATINGS))]

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        table = folders.recordings(root, NAME, "AudioWAV/1001_DFA_ANG_XX.wav")
        table = folders.labelled(table, table["emotion"], LABELS, self, root)
        actors = table["actor"].astype(int)
        table = table.assign(
            role=None,
            SpkrID=table["actor"],
            Gender=table["actor"].map(_genders(root)),
            text=table["sentence"].str.upper().map(SENTENCES),
            fold=pd.cut(actors, [1000, *LAST_ACTORS], labels=range(1, 6)).astype(object),
        )
        counts = _votes(root, table[KEY])
        if counts is not None:
            table = table.join(counts)
        if self.truth == "perceived":
            if counts is None:
                raise UserError(f"{root / RATINGS}: file not found; download it, or set corpus.truth: intended")
            table["EmoClass"] = votes.most_frequent(counts)
        return table


def _genders(root: Path) -> dict[str, str]:
    source = root / "VideoDemographics.csv"
    if not source.is_file():
        return {}
    return fields.read_table(source, ("ActorID", "Sex")).set_index("ActorID")["Sex"].to_dict()


def _votes(root: Path, names: pd.Series) -> pd.DataFrame | None:
    """The ratings of the voice alone, by the index of `names`."""
    source = root / RATINGS
    if not source.is_file():
        return None
    table = fields.read_table(source, ("clipName", "queryType", "respEmo"))
    table = table[pd.to_numeric(table["queryType"], errors="coerce") == 1]
    chosen = fields.emotions(table["respEmo"].astype(object), LABELS)
    clips = table["clipName"].str.replace(r"\.\w+$", "", regex=True)
    counts = pd.crosstab(clips, chosen).rename(columns=lambda letter: f"votes_{letter}")
    counts = counts.reindex(columns=[column for column in VOTES if column in counts])
    found = counts.reindex(names.str.replace(r"\.\w+$", "", regex=True))
    return found.set_axis(names.index).astype("Int64")
