"""MSP-Podcast as the University of Texas at Dallas distributes it (Lotfian & Busso, 2019; Busso et al., 2025).

The layout is that of the releases' own `readme.txt`::

    Audios/ (or Audio/)           MSP-PODCAST_0001_0008.wav …; the unlabelled test: MSP-PODCAST_test3_0001.wav …
    Labels/labels_consensus.csv   FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
                                  (or .json: by file name)
    Labels/labels_detailed.csv    one row per annotator: FileName,EmoDetail ("WORKER1; Neutral; Sad,Tired; A:3.0; …")
                                  or, in other releases, FileName,Workers,EmoClass_Major,… (or .json)
    Partitions.txt                Test3; MSP-PODCAST_test3_0001.wav
    Speaker_ids.txt               Speaker_1; Male … MSP-PODCAST_0001_0008.wav; 1
    Transcripts/                  MSP-PODCAST_0001_0008.txt …, by hand

Required are the audio and the consensus labels, and `Partitions.txt` if the labels have no `Split_Set`.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import Field, model_validator

from abhinaya.config.base import Place
from abhinaya.config.corpus import Corpus
from abhinaya.config.messages import WrongKey
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, check_columns, check_unique
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

AUDIO = ["Audios/Audios", "Audios/Audio", "Audios", "Audio/Audio", "Audio"]  # some archives contain a nested folder
TRANSCRIPTS = ["Transcripts/Transcripts", "Transcripts"]
ATTRIBUTES = ("EmoAct", "EmoVal", "EmoDom")
SCALE = (1.0, 7.0)
HIDDEN_TEST = "MSP-PODCAST_test3_*.wav"


# Relative to the root, by content; releases differ in spelling, and the first existing file is used.
LABEL_FILES = {
    "consensus": [f"Labels/labels_{word}.{kind}" for kind in ("csv", "json") for word in ("consensus", "concensus")],
    "detailed": ["Labels/labels_detailed.csv", "Labels/labels_detailed.json"],
    "partitions": ["Partitions.txt", "Partition.txt", "partitions.txt"],
    "speakers": ["Speaker_ids.txt", "Speaker_id.txt"],
}


class MspPodcast(Corpus):
    """MSP-Podcast as distributed: the challenge release or release 2.0."""

    assigned_by: ClassVar[str] = "corpus.partitions"

    kind: Literal["msp_podcast"]
    root: Place = Field(description="folder that contains Audios/ (or Audio/) and Labels/")
    partitions: dict[str, Literal["train", "development", "test"]] = Field(
        {"Train": "train", "Development": "development", "Test3": "test"},
        description="the use of each Split_Set; sets that are not listed are unused",
    )

    @property
    def label_files(self) -> list[str]:
        return super().label_files + [str(Path(self.root, name)) for name in chain(*LABEL_FILES.values())]

    @model_validator(mode="after")
    def _roles_filled(self) -> "MspPodcast":
        for role in ("train", "development", "test"):
            if role not in self.partitions.values():
                raise WrongKey("partitions", f"no Split_Set is used for `{role}`; add one")
        return self

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self, texts)


def read(corpus: MspPodcast, texts: bool = True) -> pd.DataFrame:
    """One row per utterance of the label file or the partition file.

    Args:
        texts: also read the transcripts, one small file per utterance.

    Returns:
        `FileName`, `path`, `problem`, `Split_Set`, `role`, `EmoClass`, `SpkrID`, `Gender`, `EmoAct`, `EmoVal`,
        `EmoDom` and, if the release has them, `votes_A` … `votes_U` and `text`.

    Raises:
        UserError: a folder, label file or column is missing; a file is duplicated; a letter is unknown; labels and
            partition file disagree; a set of `corpus.partitions` is not in the corpus.
    """
    root = fields.folder(corpus.root, "corpus.root")
    audio = _first(root, AUDIO)
    if audio is None:
        raise UserError(f"{root}: folder Audios or Audio not found; correct corpus.root")
    labels = _partitioned(_labels(root), root, audio)
    for set_name in corpus.partitions:
        if not (labels["Split_Set"] == set_name).any():
            choice = ", ".join(sorted(labels["Split_Set"].dropna().unique())) or "none"
            raise UserError(f"corpus.partitions: Split_Set {set_name!r} not found in {root}; choose from {choice}")
    table = _with_speakers(labels, root).join(fields.locate(labels[KEY], audio))
    table["role"] = table["Split_Set"].map(corpus.partitions)
    if (votes := _votes(root)) is not None:
        if not votes.index.isin(table[KEY]).any():
            source = _first(root, LABEL_FILES["detailed"])
            raise UserError(
                f"{source}: none of its {len(votes)} files, e.g. {votes.index[0]}, is in the labels; use the file of "
                "the same release or remove it"
            )
        table = table.join(votes, on=KEY)
    if texts:
        table["text"] = _transcripts(table[KEY].where(table["problem"].isna()), root)
    return table


def _first(root: Path, candidates: list[str]) -> Path | None:
    return next((root / name for name in candidates if (root / name).exists()), None)


def _labels(root: Path) -> pd.DataFrame:
    """The consensus labels, checked."""
    source = _first(root, LABEL_FILES["consensus"])
    if source is None:
        raise UserError(f"{root}: Labels/labels_consensus.csv (or .json) not found; correct corpus.root")
    table = _consensus(source)
    for other in (root / name for name in LABEL_FILES["consensus"]):
        if other != source and other.exists() and not other.samefile(source):
            _check_equal(table, source, _consensus(other), other)
    fields.check_filled(table, KEY, source)
    check_unique(table, source)
    optional = table.reindex(columns=["Split_Set", "SpkrID", "Gender"]).astype(object)
    return pd.DataFrame(
        {
            KEY: table[KEY],
            "Split_Set": optional["Split_Set"],
            "EmoClass": fields.letters(table["EmoClass"].astype(object), table[KEY], source),
            "SpkrID": fields.known(optional["SpkrID"]),
            "Gender": fields.known(optional["Gender"]),
        }
    ).join(fields.numbers(table, ATTRIBUTES, source, SCALE))


def _consensus(source: Path) -> pd.DataFrame:
    return _json_labels(source) if source.suffix == ".json" else fields.read_table(source, (KEY, "EmoClass"))


def _check_equal(table: pd.DataFrame, source: Path, other_table: pd.DataFrame, other: Path) -> None:
    """Raise a `UserError` that names the first utterance whose emotion or set differs between two label files."""
    both = [
        each.drop_duplicates(KEY).set_index(KEY).reindex(columns=["EmoClass", "Split_Set"]).astype(object)
        for each in (table, other_table)
    ]
    both = [each.assign(EmoClass=fields.emotions(each["EmoClass"])) for each in both]
    names = both[0].index.intersection(both[1].index)
    one, two = (each.loc[names] for each in both)
    differ = (one.notna() & two.notna() & (one != two)).any(axis=1)
    if differ.any():
        raise UserError(
            f"{other}: {differ.idxmax()} differs from {source.name} ({int(differ.sum())} such utterances); keep the "
            "right file and remove the other"
        )


def _json_labels(source: Path) -> pd.DataFrame:
    """`{"MSP-PODCAST_0001_0008.wav": {"EmoClass": "N", "EmoAct": "2.2", …}, …}` as the rows of the CSV."""
    table = pd.DataFrame.from_dict(_json_mappings(source), orient="index", dtype=object)
    check_columns(table.columns, ("EmoClass",), source)
    table = table.map(lambda value: str(value).strip(), na_action="ignore")
    return table.where(table != "").rename_axis(KEY).reset_index()


def _json_mappings(source: Path) -> dict[str, dict]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The object with these `pairs`; `json` itself would use the last value of a duplicate key."""
        content = dict(pairs)
        if len(content) < len(pairs):
            ((duplicate, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise UserError(f"{source}: duplicate key {duplicate!r}; keep one")
        return content

    try:
        content = json.loads(source.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); use the original file of the release") from None
    except ValueError as error:
        raise UserError(f"{source}: not JSON ({error}); use the original file of the release") from None
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise UserError(f"{source}: not a mapping from file names to labels; use the original file of the release")
    return content


def _partitioned(labels: pd.DataFrame, root: Path, audio: Path) -> pd.DataFrame:
    """Complete `Split_Set` from the partition file; add files listed only there or present only as audio."""
    source = _first(root, LABEL_FILES["partitions"])
    if source is None and labels["Split_Set"].isna().all():
        raise UserError(f"{root}: no column Split_Set in the label file and no Partitions.txt; add one of them")
    pairs = _pairs(source)
    if source and pairs.empty:
        raise UserError(
            f"{source}: no line like `Train; MSP-PODCAST_0001_0008.wav`; use the original file of the release or "
            "remove this one"
        )
    check_unique(pairs.rename(columns={1: KEY}), source)
    partition = pd.Series(pairs[0].to_numpy(), index=pairs[1], dtype=object)
    listed = labels[KEY].map(partition)
    differ = labels["Split_Set"].notna() & listed.notna() & (labels["Split_Set"] != listed)
    if differ.any():
        name, labelled = labels.loc[differ.idxmax(), [KEY, "Split_Set"]]
        raise UserError(
            f"{source}: {name} is in set {partition[name]}, but in {labelled} in the label file; correct one of them"
        )
    labels = labels.assign(Split_Set=fields.either(labels["Split_Set"], listed))
    further = partition[~partition.index.isin(labels[KEY])]
    if not (labels["Split_Set"].eq("Test3").any() or further.eq("Test3").any()):
        hidden = pd.Index(sorted(path.name for path in audio.glob(HIDDEN_TEST))).difference(labels[KEY])
        further = pd.concat([further, pd.Series("Test3", index=hidden, dtype=object)])
    added = further.rename_axis(KEY).rename("Split_Set").reset_index()
    return pd.concat([labels, added], ignore_index=True) if len(added) else labels


def _with_speakers(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Fill in missing speakers and genders from `Speaker_ids.txt`."""
    pairs = _pairs(_first(root, LABEL_FILES["speakers"]))
    number = pairs[0].str.extract(r"^(?:Speaker|Spkr)_(\d+)$", expand=False)
    gender = pairs[number.notna()].set_index(number.dropna())[1]
    speaker = pairs[number.isna()].drop_duplicates(0).set_index(0)[1]
    speakers = fields.either(table["SpkrID"], fields.known(table[KEY].map(speaker).astype(object)))
    bare = speakers.str.replace(r"^(?:Speaker|Spkr)_", "", regex=True)
    genders = bare.map(gender[~gender.index.duplicated()]).astype(object)
    return table.assign(SpkrID=speakers, Gender=fields.either(table["Gender"], fields.known(genders)))


def _pairs(source: Path | None) -> pd.DataFrame:
    """The lines `left; right` of a text file as columns 0 and 1; other lines (titles, blanks) are ignored."""
    text = source.read_text(encoding="utf-8-sig", errors="replace") if source else ""
    return pd.Series(text.splitlines(), dtype=object).str.extract(r"^\s*([^;]+?)\s*;\s*(.+?)\s*;?\s*$").dropna()


def _votes(root: Path) -> pd.DataFrame | None:
    """How many annotators chose each of the eight emotions first: (utterances, 8) int64, indexed by `FileName`.

    Primary emotions outside the eight ("Other-confused") are not counted.
    """
    source = _first(root, LABEL_FILES["detailed"])
    if source is None:
        return None
    chosen = fields.emotions(_json_annotations(source) if source.suffix == ".json" else _annotations(source))
    votes = pd.DataFrame({f"votes_{letter}": chosen == letter for letter in CLASSES})
    return votes.groupby(level=0).sum().astype("Int64")


def _annotations(source: Path) -> pd.Series:
    """The word of the primary emotion, one per annotator, indexed by `FileName`."""
    table = fields.read_table(source, (KEY,), columns=(KEY, "EmoClass_Major", "EmoDetail"))
    table = table.dropna(subset=[KEY]).set_index(KEY)
    if "EmoClass_Major" in table:
        return table["EmoClass_Major"].astype(object)
    if "EmoDetail" in table:
        return table["EmoDetail"].astype(object).str.split(";", n=2).str[1]
    raise UserError(
        f"{source}: column EmoClass_Major or EmoDetail is missing; use the original file of the release or remove "
        "this one"
    )


def _json_annotations(source: Path) -> pd.Series:
    """As `_annotations`, from `{"MSP-PODCAST_0001_0008.wav": {"WORKER1": {"EmoClass_Major": "Neutral", …}, …}, …}`."""
    words = []
    for name, workers in _json_mappings(source).items():
        for worker, annotation in workers.items():
            if not isinstance(annotation, dict) or not isinstance(annotation.get("EmoClass_Major"), str | None):
                raise UserError(
                    f"{source}: annotation {worker} of {name}: EmoClass_Major is missing or not text; fix or remove it"
                )
            words.append((name, annotation.get("EmoClass_Major")))
    return pd.DataFrame(words, columns=[KEY, "word"], dtype=object).set_index(KEY)["word"]


def _transcripts(names: pd.Series, root: Path) -> pd.Series:
    """The release's transcripts of `names`, with whitespace normalised; NaN where missing."""
    folder = _first(root, TRANSCRIPTS)
    if folder is None:
        return pd.Series(index=names.index, dtype=object)
    present = {path.stem: path for path in folder.glob("*.txt")}
    paths = names.str.replace(r"\.\w+$", "", regex=True).map(present).dropna()
    parts = [paths.iloc[start : start + 1_000] for start in range(0, len(paths), 1_000)]
    with ThreadPoolExecutor(16) as pool:  # for a hundred thousand small files, often on a network drive
        texts = pool.map(lambda part: part.map(_text), parts)
        return pd.concat([pd.Series(dtype=object), *texts]).reindex(names.index)


def _text(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8-sig", errors="replace").split())
