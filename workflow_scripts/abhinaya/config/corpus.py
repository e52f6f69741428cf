"""The section `corpus`: audio, labels and splits."""

from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Place, Resources, Section
from abhinaya.config.messages import WrongKey, check_unique
from abhinaya.labels import CLASSES

# Relative to MSP-Podcast's root, by content; releases differ in spelling, and the first existing file is used.
MSP_PODCAST_LABELS = {
    "consensus": [f"Labels/labels_{word}.{kind}" for kind in ("csv", "json") for word in ("consensus", "concensus")],
    "detailed": ["Labels/labels_detailed.csv", "Labels/labels_detailed.json"],
    "partitions": ["Partitions.txt", "Partition.txt", "partitions.txt"],
    "speakers": ["Speaker_ids.txt", "Speaker_id.txt"],
}


class Validation(Section):
    """How the validation set is selected from the development utterances."""

    per_class: Literal["smallest", "all"] | Annotated[int, Field(ge=1)] = Field(
        "smallest",
        description="utterances per class, sampled with the seed: a number (326 in the paper), "
        "`smallest` (as many as the rarest class has) or `all` (no balancing)",
    )
    files: Place | None = Field(
        None, description="text file with one FileName per line; exactly these files form the validation set"
    )


class Corpus(Section):
    """Keys of every corpus."""

    classes: list[Literal[CLASSES]] = Field(
        list(CLASSES),
        min_length=1,
        description="emotions of the corpus; each must occur in the training split",
    )
    validation: Validation = Validation()
    min_seconds: float = Field(0.1, gt=0, description="audio shorter than this is rejected (seconds)")
    max_rejected: float = Field(
        0.01, ge=0, le=1, description="maximum share of rejected utterances; above it the run stops"
    )
    overlaps: Literal["report", "error"] = Field(
        "report",
        description="recordings with several names, and speakers in training and in another split: `report` them or "
        "stop (`error`)",
    )
    resources: Resources = Resources()

    @property
    def label_files(self) -> list[str]:
        """The files, existing or not, that determine labels and splits."""
        return [self.validation.files] if self.validation.files else []

    @model_validator(mode="after")
    def _classes_once(self) -> "Corpus":
        check_unique("classes", self.classes)
        return self


class Synthetic(Corpus):
    """Synthetic emotional speech from eSpeak NG; for testing the system, not for research."""

    kind: Literal["synthetic"]
    train: dict[Literal[CLASSES], Annotated[int, Field(ge=1)]] = Field(
        {"A": 60, "C": 32, "D": 26, "F": 24, "H": 90, "N": 120, "S": 60, "U": 36},
        description="training utterances of each class; each of `classes` needs a count, other classes are ignored",
    )
    validation_per_class: int = Field(12, ge=1, description="validation utterances of each class")
    test_per_class: int = Field(12, ge=1, description="test utterances of each class")
    speakers: int = Field(24, ge=16, description="number of voices; disjoint over the splits")
    text_carries: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of utterances whose words fit the emotion; the others are neutral",
    )
    prosody_carries: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of utterances whose pitch, rate and loudness fit the emotion; the others use those of a "
        "random other emotion",
    )

    @model_validator(mode="after")
    def _classes_counted(self) -> "Synthetic":
        for letter in self.classes:
            if letter not in self.train:
                raise WrongKey("train", f"count for {letter} is missing; add it, or remove {letter} from `classes`")
        return self


class MspPodcast(Corpus):
    """MSP-Podcast as distributed: the challenge release or release 2.0."""

    kind: Literal["msp_podcast"]
    root: Place = Field(description="folder that contains Audios/ (or Audio/) and Labels/")
    partitions: dict[str, Literal["train", "development", "test"]] = Field(
        {"Train": "train", "Development": "development", "Test3": "test"},
        description="the use of each Split_Set; sets that are not listed are unused",
    )

    @property
    def label_files(self) -> list[str]:
        return super().label_files + [str(Path(self.root, name)) for name in chain(*MSP_PODCAST_LABELS.values())]

    @model_validator(mode="after")
    def _roles_filled(self) -> "MspPodcast":
        for role in ("train", "development", "test"):
            if role not in self.partitions.values():
                raise WrongKey("partitions", f"no Split_Set is used for `{role}`; add one")
        return self


class Ravdess(Corpus):
    """RAVDESS speech, as downloaded."""

    kind: Literal["ravdess"]
    classes: list[Literal[CLASSES]] = Field(
        ["A", "D", "F", "H", "N", "S", "U"], min_length=1, description="as for every corpus"
    )
    root: Place = Field(description="folder that contains Actor_01/ and so on")
    train_actors: list[int] = Field(min_length=1, description="actors of the training split")
    validation_actors: list[int] = Field(min_length=1, description="actors of the validation split")
    test_actors: list[int] = Field(min_length=1, description="actors of the test split")
    calm: Literal["drop", "neutral"] = Field("drop", description="drop calm recordings or label them as neutral")

    @model_validator(mode="after")
    def _actors_apart(self) -> "Ravdess":
        list_of: dict[int, str] = {}
        for key in ("train_actors", "validation_actors", "test_actors"):
            for actor in getattr(self, key):
                if list_of.setdefault(actor, key) != key:
                    raise WrongKey(key, f"actor {actor} is also in `{list_of[actor]}`; keep it in one list")
        return self


class Csv(Corpus):
    """Any corpus, from a table with `path`, `EmoClass`, `split` and optional manifest columns."""

    kind: Literal["csv"]
    validation: Validation = Validation(per_class="all")
    table: Place = Field(description="the CSV file")
    root: Place | None = Field(None, description="base folder of relative paths; null: the table's folder")

    @property
    def label_files(self) -> list[str]:
        return [*super().label_files, self.table]


AnyCorpus = Annotated[Synthetic | MspPodcast | Ravdess | Csv, Field(discriminator="kind")]
