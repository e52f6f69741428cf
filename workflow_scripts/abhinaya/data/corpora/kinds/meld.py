"""MELD (Poria et al., 2019, arXiv 1810.02508): dialogues of a series, as video.

    train_sent_emo.csv (or in train/)   Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,…; also dev_…, test_…
    train/train_splits/dia0_utt0.mp4    dev_splits_complete/, output_repeated_splits_test/ below any folder

Sound is extracted from the videos, unless there is a .wav of the same name.
"""

from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from abhinaya.config.corpus import FolderCorpus, Split
from abhinaya.data.corpora import fields, folders
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError

SETS = {
    "train": ("train", "train_splits"),
    "dev": ("development", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
LABELS = {"anger": "A", "disgust": "D", "fear": "F", "joy": "H", "neutral": "N", "sadness": "S", "surprise": "U"}


class Meld(FolderCorpus):
    """MELD, the folder as downloaded. Its splits share speakers."""

    assigned_by: ClassVar[str] = "the files *_sent_emo.csv"

    kind: Literal["meld"]
    split: Split = Split()

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        root = fields.folder(self.root, "corpus.root")
        table = pd.concat([_set(root, name) for name in SETS], ignore_index=True)
        return folders.labelled(table, table["Emotion"], LABELS, self, root)


def _set(root: Path, name: str) -> pd.DataFrame:
    role, folder_name = SETS[name]
    source = next(iter(sorted(root.rglob(f"{name}_sent_emo.csv"))), None)
    if source is None:
        raise UserError(f"{root}: {name}_sent_emo.csv not found; correct corpus.root")
    folder = next((path for path in sorted(root.rglob(folder_name)) if path.is_dir()), root / folder_name)
    table = fields.read_table(source, COLUMNS)
    stems = "dia" + table["Dialogue_ID"] + "_utt" + table["Utterance_ID"]
    present = folders.files(folder, (".mp4",)) | folders.files(folder)
    return pd.DataFrame(
        {
            KEY: f"{name}/" + stems,  # dialogues are numbered from 0 in each set
            "path": [str(present.get(stem, folder / f"{stem}.mp4")) for stem in stems],
            "role": role,
            "Split_Set": name,
            "Emotion": table["Emotion"],
            "SpkrID": table["Speaker"],
            "text": table["Utterance"],
        }
    )
