"""TESS (Pichora-Fuller & Dupuis, 2020, doi 10.5683/SP2/E8H2MF): two actresses, `OAF_back_angry.wav`.

The names of folders differ between copies; only the names of files are read.
"""

from pathlib import Path
from typing import Literal

import pandas as pd

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders

NAME = r"(?P<speaker>OAF?|YAF?)_(?P<word>.+)_(?P<emotion>[a-z]+)"
LABELS = {"angry": "A", "disgust": "D", "fear": "F", "happy": "H", "neutral": "N", "ps": "U", "sad": "S"}


class Tess(FolderCorpus):
    """TESS, the folder as downloaded. Of its two speakers one is for the test."""

    kind: Literal["tess"]
    split: Split = Split(by="speaker", folds=2)

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        table = folders.recordings(root, NAME, "OAF_back_angry.wav")
        table = folders.labelled(table, table["emotion"], LABELS, self, root)
        return table.assign(
            role=None,
            SpkrID=table["speaker"].str[:2].str.upper() + "F",  # one file begins with OA_
            Gender="Female",
            text="Say the word " + table["word"].str.lower(),
        )
