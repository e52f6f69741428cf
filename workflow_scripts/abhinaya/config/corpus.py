"""The section `corpus`: which speech, whose labels, which splits."""

from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Resources, Section
from abhinaya.config.messages import WrongKey
from abhinaya.labels import CLASSES

# Below MSP-Podcast's root, by what they hold; of the spellings of different releases the first that is there counts.
MSP_PODCAST_LABELS = {
    "consensus": [f"Labels/labels_{word}.{kind}" for kind in ("csv", "json") for word in ("consensus", "concensus")],
    "detailed": ["Labels/labels_detailed.csv", "Labels/labels_detailed.json"],
    "partitions": ["Partitions.txt", "Partition.txt", "partitions.txt"],
    "speakers": ["Speaker_ids.txt", "Speaker_id.txt"],
}


class Validation(Section):
    """How the validation set is drawn from the corpus's development utterances."""

    per_class: Literal["smallest", "all"] | Annotated[int, Field(ge=1)] = Field(
        "smallest",
        description="utterances per class, drawn by the seed: a number (326 in the challenge), "
        "`smallest` (as many as the rarest class has) or `all` (no balancing)",
    )
    files: str | None = Field(
        None, description="a text file with one FileName a line: exactly these form the validation set"
    )


class Corpus(Section):
    """Keys that every corpus has."""

    classes: list[Literal[CLASSES]] = Field(
        list(CLASSES),
        min_length=1,
        description="the emotions that this corpus has; each must occur in its training split",
    )
    validation: Validation = Validation()
    min_seconds: float = Field(0.1, gt=0, description="shorter audio is rejected")
    max_rejected: float = Field(
        0.01, ge=0, le=1, description="share of utterances that may be rejected before the run stops"
    )
    resources: Resources = Resources()

    @property
    def label_files(self) -> list[str]:
        """The files, there or not, whose content decides labels and splits."""
        return [self.validation.files] if self.validation.files else []

    @model_validator(mode="after")
    def _classes_once(self) -> "Corpus":
        for letter in self.classes:
            if self.classes.count(letter) > 1:
                raise WrongKey("classes", f"{letter!r} stands twice; name each class once")
        return self


class Synthetic(Corpus):
    """Emotional speech made by eSpeak NG; for trying the system, not for science."""

    kind: Literal["synthetic"]
    train: dict[Literal[CLASSES], Annotated[int, Field(ge=1)]] = Field(
        {"A": 60, "C": 32, "D": 26, "F": 24, "H": 90, "N": 120, "S": 60, "U": 36},
        description="training utterances of each class; each of `classes` needs a count, others are not spoken",
    )
    validation_per_class: int = Field(12, ge=1, description="validation utterances of each class")
    test_per_class: int = Field(12, ge=1, description="test utterances of each class")
    speakers: int = Field(24, ge=16, description="voices; disjoint over the splits")
    text_carries: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of utterances whose words fit their emotion; the others say something neutral",
    )
    prosody_carries: float = Field(
        0.8, ge=0, le=1, description="share whose pitch, rate and loudness fit; the others are spoken at random"
    )

    @model_validator(mode="after")
    def _classes_counted(self) -> "Synthetic":
        for letter in self.classes:
            if letter not in self.train:
                raise WrongKey("train", f"no count for {letter}; add one, or take {letter} out of `classes`")
        return self


class MspPodcast(Corpus):
    """MSP-Podcast as distributed: the challenge release or release 2.0."""

    kind: Literal["msp_podcast"]
    root: str = Field(description="folder that holds Audios/ (or Audio/) and Labels/")
    partitions: dict[str, Literal["train", "development", "test"]] = Field(
        {"Train": "train", "Development": "development", "Test3": "test"},
        description="what each Split_Set of the corpus is used for; sets not named stay unused",
    )

    @property
    def label_files(self) -> list[str]:
        return super().label_files + [str(Path(self.root, name)) for name in chain(*MSP_PODCAST_LABELS.values())]

    @model_validator(mode="after")
    def _roles_filled(self) -> "MspPodcast":
        for role in ("train", "development", "test"):
            if role not in self.partitions.values():
                raise WrongKey("partitions", f"no Split_Set is used for `{role}`; name one")
        return self


class Ravdess(Corpus):
    """RAVDESS speech, the folder as downloaded."""

    kind: Literal["ravdess"]
    classes: list[Literal[CLASSES]] = Field(
        ["A", "D", "F", "H", "N", "S", "U"], min_length=1, description="as for every corpus"
    )
    root: str = Field(description="folder that holds Actor_01/ and so on")
    train_actors: list[int] = Field(min_length=1, description="actors to train on")
    validation_actors: list[int] = Field(min_length=1, description="actors to select the checkpoint on")
    test_actors: list[int] = Field(min_length=1, description="actors to test on")
    calm: Literal["drop", "neutral"] = Field("drop", description="drop the calm recordings or count them as neutral")

    @model_validator(mode="after")
    def _actors_apart(self) -> "Ravdess":
        list_of: dict[int, str] = {}
        for key in ("train_actors", "validation_actors", "test_actors"):
            for actor in getattr(self, key):
                if list_of.setdefault(actor, key) != key:
                    raise WrongKey(key, f"actor {actor} is in `{list_of[actor]}` too; keep it in one list")
        return self


class Csv(Corpus):
    """Any corpus, from a table with `path`, `EmoClass`, `split` and perhaps further manifest columns."""

    kind: Literal["csv"]
    validation: Validation = Validation(per_class="all")
    table: str = Field(description="the CSV file")
    root: str | None = Field(None, description="folder that relative paths start from; default: the table's own")

    @property
    def label_files(self) -> list[str]:
        return [*super().label_files, self.table]


AnyCorpus = Annotated[Synthetic | MspPodcast | Ravdess | Csv, Field(discriminator="kind")]
