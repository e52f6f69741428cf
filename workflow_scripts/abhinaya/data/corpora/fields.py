"""Reading label files and checking their fields: what every corpus needs."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from abhinaya.data.schemas import KEY
from abhinaya.labels import EMOTIONS, LETTERS
from abhinaya.runtime.errors import UserError

EXACT = (KEY, "path")  # a file's name may begin or end with a space; other fields may not
WORDS = (
    {letter.lower(): letter for letter in LETTERS}
    | {word: letter for letter, word in EMOTIONS.items()}
    | {
        "anger": "A",
        "disgusted": "D",
        "fearful": "F",
        "afraid": "F",
        "happiness": "H",
        "joy": "H",
        "sadness": "S",
        "surprised": "U",
    }
)


def folder(path: str | Path, key: str) -> Path:
    """`path`, which must be a folder; `key` is where the configuration names it.

    Raises:
        UserError: it is not.
    """
    if not Path(path).is_dir():
        raise UserError(f"{path}: no such folder; correct {key}")
    return Path(path)


def read_table(path: Path, required: Sequence[str], separator: str = ",") -> pd.DataFrame:
    """A delimited text file as strings, stripped, empty fields as NaN.

    Raises:
        UserError: absent, not such a file, a `required` column missing, a column twice, a row longer than the header.
    """
    form = {"sep": separator, "dtype": str, "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
    try:
        header = pd.read_csv(path, header=None, nrows=1, **form).loc[0].dropna().str.strip()
        with warnings.catch_warnings(action="error", category=ParserWarning):  # pandas would cut the first row
            table = pd.read_csv(path, index_col=False, **form)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it or correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a readable file") from None
    except ParserWarning:
        raise UserError(f"{path}: row 2 has more fields than the header; mend it") from None
    except ValueError as error:
        raise UserError(f"{path}: not a readable table ({' '.join(str(error).split())}); mend it") from None
    if header.duplicated().any():  # which pandas would rename
        raise UserError(f"{path}: column {header[header.duplicated()].iloc[0]!r} stands twice; keep one")
    table.columns = table.columns.str.strip()
    require(table, required, path)
    return table.apply(lambda column: column if column.name in EXACT else _stripped(column))


def require(table: pd.DataFrame, required: Sequence[str], source: Path) -> None:
    """Raise a `UserError` that names the `required` columns which `table` lacks."""
    missing = [column for column in required if column not in table]
    if missing:
        raise UserError(f"{source}: no column {', '.join(missing)}; it needs {', '.join(required)}")


def letters(classes: pd.Series, names: pd.Series, source: Path) -> pd.Series:
    """Emotions as letters; the full words ("happy", "Sadness") are understood too, unknown (NaN) stays so.

    Raises:
        UserError: neither a letter of `LETTERS` nor a known word; names the first such utterance.
    """
    found = emotions(classes)
    wrong = classes.notna() & found.isna()
    if wrong.any():
        raise UserError(
            f"{source}: EmoClass {classes[wrong].iloc[0]!r} of {names[wrong].iloc[0]} is none of {', '.join(LETTERS)}; "
            "correct it"
        )
    return found


def emotions(words: pd.Series) -> pd.Series:
    """The letters of emotions given as words or letters, in any case; NaN for anything else."""
    letter_of = {word: WORDS.get(word.strip().lower(), np.nan) for word in words.dropna().unique()}
    return words.map(letter_of).astype(object)


def either(first: pd.Series, second: pd.Series) -> pd.Series:
    """`first` where it is known, else `second`, both with the same index."""
    return pd.Series(np.where(first.notna(), first, second), index=first.index, dtype=object)


def numbers(table: pd.DataFrame, columns: Sequence[str], source: Path) -> pd.DataFrame:
    """Those of `columns` that `table` has, as float64.

    Raises:
        UserError: a field is no number; names it.
    """
    values = table[[column for column in columns if column in table]]
    converted = values.apply(pd.to_numeric, errors="coerce").astype(float)
    wrong = values.notna() & converted.isna()
    if wrong.to_numpy().any():
        column = wrong.any().idxmax()
        row = wrong[column].idxmax()
        value, name = table.at[row, column], table.at[row, KEY]
        raise UserError(f"{source}: {column} {value!r} of {name} is no number; correct it")
    return converted


def known(values: pd.Series) -> pd.Series:
    """Names of speakers or genders: "Unknown" is NaN, and a number that passed through floats (30.0) is one again."""
    return values.where(values.str.lower() != "unknown").str.replace(r"^(\d+)\.0$", r"\1", regex=True)


def locate(names: pd.Series, root: Path, which: str = "") -> pd.DataFrame:
    """Where the files `names` of the corpus folder `root` are; `which` says more of that folder.

    Returns:
        `path` and, for names that lead elsewhere (`../`, absolute paths), the `problem` with them.
    """
    start = "" if root == Path() else str(root)
    paths = [os.path.join(start, name) for name in names]
    inside = os.path.join(os.path.abspath(root), "")
    stray = [
        ".." in name.split("/") or (name.startswith("/") and not os.path.normpath(name).startswith(inside))
        for name in names
    ]
    told = ", ".join(filter(None, (f"not a path inside the corpus folder {root}", which)))
    problem = pd.Series(stray, index=names.index, dtype=bool).map({True: told})
    return pd.DataFrame({"path": pd.Series(paths, index=names.index, dtype=object), "problem": problem})


def _stripped(column: pd.Series) -> pd.Series:
    stripped = column.astype(object).str.strip()
    return stripped.where(stripped != "")
