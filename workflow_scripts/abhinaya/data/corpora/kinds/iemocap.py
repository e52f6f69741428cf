"""IEMOCAP (Busso et al., 2008, doi 10.1007/s10579-008-9076-6).

Session1/dialog/EmoEvaluation/Ses01F_impro01.txt    "[6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5, 2.5, 2.5]",
                                                    then a line per rater: "C-E2:	Neutral;	()"
Session1/dialog/transcriptions/Ses01F_impro01.txt   "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me."
Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
"""

import re
from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders
from abhinaya.data.schemas import KEY, VOTES
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

SUMMARY = re.compile(r"^\[[^]]+\]\s+(\S+)\s+(\w+)\s+\[([\d.]+),\s*([\d.]+),\s*([\d.]+)\]")
RATING = re.compile(r"^C-E\w*:\s*([^(]*)")  # C-F1 and C-M1 are the actors' own
TURN = re.compile(r"^(Ses\w+)\s+\[[^]]*\]:\s*(.*)$")
LABELS = {
    **{"ang": "A", "hap": "H", "exc": "H", "neu": "N", "sad": "S", "fea": "F", "sur": "U", "dis": "D"},
    **{"fru": "O", "oth": "O", "xxx": "X"},
}
RATED = {"excited": "H", "frustration": "O"}  # further words of the raters


class Iemocap(FolderCorpus):
    """IEMOCAP, the folder as distributed; folds are sessions. By default its four common classes, excited as happy."""

    kind: Literal["iemocap"]
    classes: list[Literal[CLASSES]] | None = Field(
        ["A", "H", "N", "S"], min_length=1, description="as for every corpus"
    )
    split: Split = Split(by="session", folds=5)

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        sessions = sorted(path for path in (*root.glob("Session*"), *root.glob("*/Session*")) if path.is_dir())
        table = pd.DataFrame([row for session in sessions for row in _session(session)])
        if table.empty:
            raise UserError(f"{root}: no Session1/dialog/EmoEvaluation/*.txt found; correct corpus.root")
        return folders.labelled(table, table["word"], LABELS, self, root).drop(columns="word")


def _session(session: Path) -> list[dict]:
    texts = {name: text for path in _files(session / "dialog/transcriptions") for name, text in _turns(path)}
    rows = [row for path in _files(session / "dialog/EmoEvaluation") for row in _evaluation(path, session)]
    return [{**row, "text": texts.get(row[KEY].removesuffix(".wav"))} for row in rows]


def _files(folder: Path) -> list[Path]:
    """The text files directly in `folder`, without those that macOS adds to archives."""
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def _turns(path: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2].strip()) for line in _lines(path) if (match := TURN.match(line))]


def _evaluation(path: Path, session: Path) -> list[dict]:
    """The utterances of a dialogue, with the votes of the raters below each."""
    rows: list[dict] = []
    for line in _lines(path):
        if match := SUMMARY.match(line):
            rows.append(_utterance(match, path.stem, session))
        elif rows and (match := RATING.match(line)):
            words = pd.Series([word for word in match[1].split(";") if word.strip()], dtype=object)
            for letter, count in Counter(fields.emotions(words, RATED).dropna()).items():
                if letter in CLASSES:
                    rows[-1][f"votes_{letter}"] += count
    return rows


def _utterance(match: re.Match, dialogue: str, session: Path) -> dict:
    name, word, valence, activation, dominance = match.groups()
    speaker = name.rpartition("_")[2][:1]  # not the F of Ses01F, who wears the markers
    return {
        KEY: f"{name}.wav",
        "path": str(session / "sentences/wav" / dialogue / f"{name}.wav"),
        "role": None,
        "word": word,
        "SpkrID": f"{name[:5]}{speaker}",
        "Gender": {"F": "Female", "M": "Male"}.get(speaker),
        "session": session.name.removeprefix("Session"),
        "EmoVal": float(valence),
        "EmoAct": float(activation),
        "EmoDom": float(dominance),
        **dict.fromkeys(VOTES, 0),
    }
