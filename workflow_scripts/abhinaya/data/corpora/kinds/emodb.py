"""EMO-DB (Burkhardt et al., 2005), German acted speech, version 1.x or 2.0.

Files are `wav/03a01Wa.wav`: speaker, sentence, the first letter of the German emotion, version.
"""

from pathlib import Path
from typing import Literal

import pandas as pd

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders

NAME = r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])[a-z]"
# Wut, Langeweile (boredom), Ekel, Angst, Freude, Trauer, neutral. A and F are not our letters A and F.
LABELS = {"w": "A", "l": None, "e": "D", "a": "F", "f": "H", "t": "S", "n": "N"}
MALE = ("03", "10", "11", "12", "15")
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


class Emodb(FolderCorpus):
    """EMO-DB, the folder as downloaded; boredom is left out."""

    kind: Literal["emodb"]
    split: Split = Split(by="speaker", folds=10)

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        table = folders.recordings(root, NAME, "03a01Wa.wav")
        table = folders.labelled(table, table["emotion"], LABELS, self, root)
        return table.assign(
            role=None,
            SpkrID=table["speaker"],
            Gender=table["speaker"].isin(MALE).map({True: "Male", False: "Female"}),
            text=table["sentence"].str.lower().map(SENTENCES),
        )
