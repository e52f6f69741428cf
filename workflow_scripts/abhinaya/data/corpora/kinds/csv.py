"""Any corpus, from a table with a row for each utterance: `path`, `EmoClass`, `split` and optional columns."""

import os
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from abhinaya.config.base import Place
from abhinaya.config.corpus import Corpus, Validation
from abhinaya.data.corpora import fields, user_tables, votes
from abhinaya.data.schemas import KEY, VOTES, check_columns, check_unique, check_values
from abhinaya.labels import CLASSES, LETTERS
from abhinaya.runtime.errors import UserError

REQUIRED = ("path", "EmoClass", "split")
ROLES = {
    "train": "train",
    "training": "train",
    **dict.fromkeys(("validation", "valid", "val", "development", "dev"), "development"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TEXTS = ("Split_Set", "SpkrID", "Gender", "text", "session", "fold")
NUMBERS = ("EmoAct", "EmoVal", "EmoDom", "start", "end")
COLUMNS = (KEY, *REQUIRED, *TEXTS, *NUMBERS, *VOTES)


class Csv(Corpus):
    """Any corpus, from a table: `path`, `EmoClass`, `split` and optional columns."""

    assigned_by: ClassVar[str] = "the table's column `split`"

    kind: Literal["csv"]
    classes: list[Literal[CLASSES]] | None = Field(
        None, min_length=1, description="emotions of the corpus; null: those that occur in the training split"
    )
    validation: Validation = Validation(per_class="all")
    table: Place = Field(description="the table: CSV (comma, semicolon; UTF-8 or UTF-16), TSV, Parquet or JSON lines")
    root: Place | None = Field(None, description="base folder of relative paths; null: the table's folder")
    columns: dict[Literal[COLUMNS], str] = Field(
        {}, description="names of columns in the table where they are not recognised, such as `{EmoClass: mood}`"
    )
    labels: dict[str, Literal[LETTERS] | None] = Field(
        {},
        description="letters of emotions in the table's words, such as `{excited: H, boredom: null}`; null leaves the "
        "utterances out. Letters and words such as `angry` or `sadness` are known",
    )

    @property
    def label_files(self) -> list[str]:
        return [*super().label_files, self.table]

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self)


def read(corpus: Csv) -> pd.DataFrame:
    """One row per row of the table.

    `FileName` is `path` as written unless the table has that column; paths may be absolute or outside the folder;
    emotions are letters or words, or the most frequent vote if the table has only votes; other known columns are
    copied, `text` is the reference transcript, unknown columns are ignored.

    Raises:
        UserError: the table, the folder or a column is missing, a path is empty, a `FileName` is duplicated, or an
            emotion, split or number is invalid.
    """
    source = Path(corpus.table)
    table = user_tables.read(source)
    if table.empty and len(table.columns):
        raise UserError(f"{source}: table is empty; add a row per utterance")
    table = user_tables.renamed(table, corpus.columns, REQUIRED, source)
    table = table if "path" in table or KEY not in table else table.assign(path=table[KEY])
    check_columns(table.columns, ("path",), source)
    fields.check_filled(table, "path", source)
    table = table if KEY in table else table.assign(**{KEY: _names(table)})
    fields.check_filled(table, KEY, source)
    check_unique(table, source)
    counts = votes.read(table, corpus.labels, source)
    if "EmoClass" not in table and counts is not None:
        table = table.assign(EmoClass=votes.most_frequent(counts))
    check_columns(table.columns, REQUIRED if corpus.split.number is None else REQUIRED[:2], source)
    root = source.parent if corpus.root is None else fields.folder(corpus.root, "corpus.root")
    classes = table["EmoClass"].astype(object)
    start = "" if root == Path() else str(root)
    return pd.concat(
        [
            table[[KEY, *(column for column in TEXTS if column in table)]],
            table["path"].map(lambda path: os.path.join(start, os.path.expanduser(path))),
            _roles(table, source),
            fields.letters(classes, table[KEY], source, corpus.labels),
            fields.left_out(classes, corpus.labels).rename("left_out"),
            fields.numbers(table, NUMBERS, source),
            *([] if counts is None else [counts]),
        ],
        axis=1,
    )


def _names(table: pd.DataFrame) -> pd.Series:
    """Names of utterances: the path, and the bounds of a part of a longer file."""
    bounds = [table[column].map(lambda second: f"{second}") for column in ("start", "end") if column in table]
    return table["path"] if not bounds else table["path"] + "#" + bounds[0].str.cat(bounds[1:], sep="-")


def _roles(table: pd.DataFrame, source: Path) -> pd.Series:
    if "split" not in table:  # `corpus.split` assigns them
        return pd.Series(index=table.index, dtype=object, name="role")
    roles = table["split"].astype(object).str.lower().map(ROLES).rename("role")
    wrong = table["split"].notna() & roles.isna()
    check_values(table["split"], wrong, table[KEY], source, "train, validation, test or empty")
    return roles
