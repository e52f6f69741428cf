"""Any corpus, from a table with `path`, `EmoClass`, `split` and optional manifest columns."""

from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from abhinaya.config.corpus import Corpus, Validation
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, VOTES, check_unique, check_values
from abhinaya.runtime.errors import UserError

REQUIRED = ("path", "EmoClass", "split")
ROLES = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "development", "dev"), "development"),
    "test": "test",
}
TEXTS = ("Split_Set", "SpkrID", "Gender", "text")
NUMBERS = ("EmoAct", "EmoVal", "EmoDom", *VOTES)


class Csv(Corpus):
    """Any corpus, from a table with `path`, `EmoClass`, `split` and optional manifest columns."""

    assigned_by: ClassVar[str] = "the table's column `split`"

    kind: Literal["csv"]
    validation: Validation = Validation(per_class="all")
    table: str = Field(description="the CSV file")
    root: str | None = Field(None, description="base folder of relative paths; null: the table's folder")

    @property
    def label_files(self) -> list[str]:
        return [*super().label_files, self.table]

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self)


def read(corpus: Csv) -> pd.DataFrame:
    """One row per row of the table; a `.tsv` is separated by tabs.

    `FileName` is `path` as written unless the table has that column; emotions are letters or words; other
    manifest columns are copied, `text` is the reference transcript, unknown columns are ignored.

    Raises:
        UserError: the table, the folder or a column is missing, a path is empty, a `FileName` is duplicated, or an
            emotion, split or number is invalid.
    """
    source = Path(corpus.table)
    table = fields.read_table(source, REQUIRED, separator="\t" if source.suffix == ".tsv" else ",")
    if table.empty:
        raise UserError(f"{source}: table is empty; add a row per utterance")
    table = table if KEY in table else table.assign(**{KEY: table["path"]})
    for column in ("path", KEY):
        fields.check_filled(table, column, source)
    check_unique(table, source)
    root = source.parent if corpus.root is None else fields.folder(corpus.root, "corpus.root")
    values = fields.numbers(table, NUMBERS, source)
    votes = [column for column in VOTES if column in values]
    return pd.concat(
        [
            table[[KEY, *(column for column in TEXTS if column in table)]],
            fields.locate(table["path"], root, note="set by corpus.root"),
            _roles(table, source),
            fields.letters(table["EmoClass"].astype(object), table[KEY], source),
            values.astype(dict.fromkeys(votes, "Int64")),
        ],
        axis=1,
    )


def _roles(table: pd.DataFrame, source: Path) -> pd.Series:
    roles = table["split"].astype(object).str.lower().map(ROLES).rename("role")
    wrong = table["split"].notna() & roles.isna()
    check_values(table["split"], wrong, table[KEY], source, "train, validation, test or empty")
    return roles
