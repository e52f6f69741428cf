"""Any corpus, from a table with `path`, `EmoClass`, `split` and optional manifest columns."""

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

    `FileName` is `path` as written unless the table has that column; emotions are letters or words; other
    manifest columns are copied, `text` is the reference transcript, unknown columns are ignored.

    Raises:
        UserError: the table, the folder or a column is missing, a path is empty, a `FileName` is duplicated, or an
            emotion, split or number is invalid.
    """
    source = Path(corpus.table)
    table = fields.read_table(source, REQUIRED, separator="\t" if source.suffix == ".tsv" else ",")
    for column in (KEY, "path"):
        if column in table and table[column].isna().any():
            raise UserError(f"{source}: row {int(table[column].isna().argmax()) + 2}: {column} is empty; fill it in")
    if table.empty:
        raise UserError(f"{source}: table is empty; add a row per utterance")
    table = table if KEY in table else table.assign(**{KEY: table["path"]})
    check_unique(table, source)
    root = source.parent if corpus.root is None else fields.folder(corpus.root, "corpus.root")
    values = fields.numbers(table, NUMBERS, source)
    votes = [column for column in VOTES if column in values]
    return pd.concat(
        [
            table[[KEY, *(column for column in TEXTS if column in table)]],
            fields.locate(table["path"], root, note="set by corpus.root"),
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
            f"{source}: split {split!r} of {name} is invalid; use train, validation, test or leave it empty"
        )
    return roles
