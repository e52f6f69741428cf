"""The section `corpus`: audio, labels and splits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from abhinaya.config.base import Place, Resources, Section
from abhinaya.config.messages import WrongKey, check_unique
from abhinaya.labels import CLASSES, LETTERS

if TYPE_CHECKING:
    import pandas as pd


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


class Split(Section):
    """How the utterances are split: as given, or in folds that share no speaker or session."""

    by: Literal["given", "speaker", "session"] = Field(
        "given",
        description="`given`: by the corpus or its keys; with `folds` by its published folds (column `fold`). "
        "`speaker`, `session`: no speaker or session is in two splits",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="number of folds of a cross-validation (`snakemake cv`); null: 5, or none if `given`. A fold is "
        "for the test, the next one for validation, the others for training; of two folds a fifth of the training "
        "utterances is for validation. With folds the validation set is not balanced",
    )
    fold: int = Field(1, ge=1, description="the test fold of all other targets than `cv`")

    @property
    def number(self) -> int | None:
        """The number of folds; None without folds."""
        return 5 if self.folds is None and self.by != "given" else self.folds

    @model_validator(mode="after")
    def _fold_exists(self) -> Split:
        if self.fold > (self.number or 1):
            raise WrongKey("fold", f"{self.fold}, but there are {self.number or 'no'} folds; change it or `folds`")
        return self


class Corpus(Section):
    """Keys of every corpus."""

    assigned_by: ClassVar[str]  # what defines the splits, for messages

    classes: list[Literal[CLASSES]] | None = Field(
        list(CLASSES),
        min_length=1,
        description="emotions of the corpus; each must occur in the training split",
    )
    split: Split = Split()
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

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        """Read the labels of the corpus.

        Args:
            seed: of a corpus that is generated.
            folder: for the audio of a corpus that is generated.
            texts: also read the transcripts of a corpus that has many small files of them.

        Returns:
            `FileName`, `path`, `role` (`train`, `development`, `test` or null), `EmoClass` and, where known,
            `Split_Set`, `SpkrID`, `Gender`, `EmoAct`, `EmoVal`, `EmoDom`, `votes_A` … `votes_U`, `text`, `start` and
            `end` (seconds, of an utterance in a longer file), `session`, `fold` (published), `left_out` (the corpus's
            own word for an emotion whose utterances are left out), `problem` (why a row is rejected before its audio is
            read).

        Raises:
            UserError: the corpus is not there or invalid.
        """
        raise NotImplementedError

    @model_validator(mode="after")
    def _classes_once(self) -> Corpus:
        check_unique("classes", self.classes or [])
        return self

    @model_validator(mode="after")
    def _validation_of_folds(self) -> Corpus:
        if self.split.number and (self.validation.files or isinstance(self.validation.per_class, int)):
            key = "files" if self.validation.files else "per_class"
            raise WrongKey(
                f"validation.{key}", "not used with folds (`split`), a fold is the validation set; remove it"
            )
        return self


class FolderCorpus(Corpus):
    """Keys of the corpora that are read from the folder as downloaded."""

    assigned_by: ClassVar[str] = "corpus.split"

    classes: list[Literal[CLASSES]] | None = Field(
        None, min_length=1, description="emotions of the corpus; null: those that occur in the training split"
    )
    validation: Validation = Validation(per_class="all")
    root: Place = Field(description="folder of the corpus, as downloaded")
    labels: dict[str, Literal[LETTERS] | None] = Field(
        {},
        description="letters of the corpus's own names of emotions where they should differ from the default, such as "
        "`{exc: null}`; null leaves the utterances out",
    )
