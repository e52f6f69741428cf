"""Any corpus, from a table with `path`, `EmoClass`, `split` and perhaps further columns of the manifest."""

from pathlib import Path

import pandas as pd

from abhinaya.config.corpus import Csv
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY, VOTES, check_unique
from abhinaya.runtime.errors import UserError

REQUIRED = ("path", "EmoClass", "split")
ROLES = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "development", "dev"), "development"),
    "test": "test",
}
TEXTS = ("Split_Set", "SpkrID", "Gender", "text")
NUMBERS = ("EmoAct", "EmoVal", "EmoDom", *VOTES)


def read(corpus: Csv) -> pd.DataFrame:
    """One row per row of the table; a `.tsv` is separated by tabs.

    `FileName` is `path` as written unless the table has that column; emotions are letters or words; further columns of
    the manifest are taken over, `text` is the reference transcript, any other column is passed over.

    Raises:
        UserError: the table or its folder is absent, a column is missing, a path is empty, a `FileName` stands twice,
            an emotion, a split or a number is not one.
    """
    source = Path(corpus.table)
    table = fields.read_table(source, REQUIRED, separator="\t" if source.suffix == ".tsv" else ",")
    for column in (KEY, "path"):
        if column in table and table[column].isna().any():
            raise UserError(f"{source}: row {int(table[column].isna().argmax()) + 2} has no {column}; fill it in")
    if table.empty:
        raise UserError(f"{source}: no rows; list the corpus's utterances")
    table = table if KEY in table else table.assign(**{KEY: table["path"]})
    check_unique(table, source)
    root = source.parent if corpus.root is None else fields.folder(corpus.root, "corpus.root")
    values = fields.numbers(table, NUMBERS, source)
    votes = [column for column in VOTES if column in values]
    return pd.concat(
        [
            table[[KEY, *(column for column in TEXTS if column in table)]],
            fields.locate(table["path"], root, which="which corpus.root sets"),
            _roles(table, source).rename("role"),
            fields.letters(table["EmoClass"].astype(object), table[KEY], source).rename("EmoClass"),
            values.astype(dict.fromkeys(votes, "Int64")),
        ],
        axis=1,
    )


def _roles(table: pd.DataFrame, source: Path) -> pd.Series:
    given = table["split"].astype(object)
    roles = given.str.lower().map(ROLES)
    wrong = given.notna() & roles.isna()
    if wrong.any():
        split, name = given[wrong].iloc[0], table[KEY][wrong].iloc[0]
        raise UserError(
            f"{source}: split {split!r} of {name} is none of train, validation, test; correct it or leave it empty"
        )
    return roles
