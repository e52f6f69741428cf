"""SAVEE (Haq & Jackson, 2009): four men, `AudioData/DC/a01.wav` or `DC_a01.wav`."""

from pathlib import Path
from typing import Literal

import pandas as pd

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields
from abhinaya.data.corpora.folders import labelled
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError

NAME = r"(?i)(?:^|/)(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<number>\d\d)\.wav$"
LABELS = {"a": "A", "d": "D", "f": "F", "h": "H", "n": "N", "sa": "S", "su": "U"}


class Savee(FolderCorpus):
    """SAVEE, the folder as downloaded."""

    kind: Literal["savee"]
    split: Split = Split(by="speaker", folds=4)

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        paths = pd.Series(sorted(path.as_posix() for path in root.rglob("*.wav")), dtype=object)
        table = paths.str.extract(NAME).assign(path=paths).dropna().reset_index(drop=True)
        if table.empty:
            raise UserError(f"{root}: no recordings such as DC/a01.wav or DC_a01.wav found; correct corpus.root")
        speaker = table["speaker"].str.upper()
        table[KEY] = speaker + "_" + table["emotion"].str.lower() + table["number"] + ".wav"
        table = labelled(table.drop_duplicates(KEY, ignore_index=True), table["emotion"], LABELS, self, root)
        return table.assign(role=None, SpkrID=speaker, Gender="Male")
