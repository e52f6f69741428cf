"""MSP-IMPROV (Busso et al., 2017, doi 10.1109/TAFFC.2016.2515617).

    Evaluation.txt (in some copies Evalution.txt)   "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.4; V:3.2; D:3.0 ; N:4.2;",
                                                    then a line per rater: "id; Angry; Frustrated; A:4; V:2; D:3; N:4;"
    session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav

Activation is not read: copies differ in the direction of its scale.
"""

import re
from pathlib import Path
from typing import Literal

import pandas as pd

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders
from abhinaya.data.schemas import KEY, VOTES
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

FILES = ("Evaluation.txt", "Evalution.txt")
CLIP = re.compile(r"^(?:UTD|MSP)-(IMPROV-\w+-([FM])(\d\d)-[PRST]-\w+)\.(?:avi|wav)\s*;\s*(\w+)\s*;(.*)$")
NUMBER = re.compile(r"\b([VD]):\s*([\d.]+)")
LABELS = {"a": "A", "h": "H", "n": "N", "s": "S", "o": "O", "x": "X"}


class MspImprov(FolderCorpus):
    """MSP-IMPROV, the folder as distributed; folds are sessions."""

    kind: Literal["msp_improv"]
    split: Split = Split(by="session", folds=6)

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        source = next((root / name for name in FILES if (root / name).is_file()), None)
        if source is None:
            raise UserError(f"{root}: {FILES[0]} not found; correct corpus.root")
        present = folders.files(root)
        table = pd.DataFrame(_clips(source))
        if table.empty:
            raise UserError(f"{source}: no line such as `UTD-IMPROV-S01A-F01-P-FM01.avi; N; …`; use the original file")
        stems = table[KEY].str.removesuffix(".wav")
        table["path"] = [str(present.get(stem, root / f"{stem}.wav")) for stem in stems]
        return folders.labelled(table, table["word"], LABELS, self, source).drop(columns="word")


def _clips(source: Path) -> list[dict]:
    """The clips with the votes of the raters below each; a rater is counted once, as some are there twice."""
    clips: list[dict] = []
    raters: set[str] = set()
    for line in source.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if match := CLIP.match(line.strip()):
            name, sex, number, word, rest = match.groups()
            raters = set()
            attributes = dict(NUMBER.findall(rest))
            clips.append(
                {
                    KEY: f"MSP-{name}.wav",
                    "role": None,
                    "word": word,
                    "SpkrID": sex + number,
                    "Gender": {"F": "Female", "M": "Male"}[sex],
                    "session": number,
                    "EmoVal": float(attributes.get("V", "nan")),
                    "EmoDom": float(attributes.get("D", "nan")),
                    **dict.fromkeys(VOTES, 0),
                }
            )
        elif clips and line.count(";") >= 2:
            rater, word, *_ = line.split(";")
            if rater.strip() not in raters:
                raters.add(rater.strip())
                for letter in fields.emotions(pd.Series([word], dtype=object)):
                    if letter in CLASSES:
                        clips[-1][f"votes_{letter}"] += 1
    return clips
