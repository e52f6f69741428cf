"""Reading label files and validating their fields, for all corpora."""

import codecs
import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from abhinaya.data.schemas import KEY, check_columns, check_values
from abhinaya.labels import EMOTIONS, LETTERS
from abhinaya.runtime.errors import UserError

EXACT = (KEY, "path")  # not stripped: a file name may begin or end with a space
EMOTIONAL = ("EmoAct", "EmoVal", "EmoDom")
MAX_NUMBER = 1e6  # votes, or seconds in a file
ATTRIBUTES = (-10.0, 100.0)  # any usual scale, such as 1 to 7, -1 to 1, 0 to 100; not a placeholder such as -99
WORDS = (
    {letter.lower(): letter for letter in LETTERS}
    | {word: letter for letter, word in EMOTIONS.items()}
    | {
        "anger": "A",
        "ang": "A",
        "disgusted": "D",
        "dis": "D",
        "fearful": "F",
        "afraid": "F",
        "fea": "F",
        "happiness": "H",
        "joy": "H",
        "joyful": "H",
        "hap": "H",
        "neu": "N",
        "sadness": "S",
        "surprised": "U",
        "sur": "U",
        "other": "O",
        "oth": "O",
        "no-agreement": "X",
        "no_agreement": "X",
        "xxx": "X",
    }
)


def folder(path: str | Path, key: str) -> Path:
    """The folder `path`, as a `Path`.

    Args:
        key: its configuration key, for the message.

    Raises:
        UserError: it is not an existing folder.
    """
    if not Path(path).is_dir():
        raise UserError(f"{path}: folder not found; correct {key}")
    return Path(path)


def check_regular(path: Path) -> None:
    """Raise a `UserError` if `path` is a folder, or a pipe or device, which might be waited for without end."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: {'Is a directory' if path.is_dir() else 'not a regular file'}; give a file")


def read_table(
    path: Path, required: Sequence[str], separator: str | None = ",", columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """A delimited text file as strings, stripped, empty fields as NaN.

    Args:
        separator: None for comma, semicolon or tab, whichever the header has most.
        columns: those to return, if present; None: all.

    Raises:
        UserError: the file is missing or not a table, a `required` column is missing, a column is duplicated, or a row
            has more fields than the header.
    """
    check_regular(path)
    options = {"dtype": str, "keep_default_na": False, "na_values": [""]}
    try:
        options["encoding"] = _encoding(path)
        options["sep"] = separator or _separator(path, options["encoding"])
        header = pd.read_csv(path, header=None, nrows=1, **options).loc[0].dropna().str.strip()
        with warnings.catch_warnings(action="error", category=ParserWarning):  # pandas would truncate the row
            table = pd.read_csv(path, index_col=False, **options)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; create it or correct the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a readable file") from None
    except ParserWarning:
        raise UserError(f"{path}: row 2 has more fields than the header; fix the row") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as CSV, UTF-8, separated by commas") from None
    except ValueError as error:
        raise UserError(f"{path}: not a readable table ({' '.join(str(error).split())}); fix the file") from None
    if header.duplicated().any():  # pandas would rename them
        raise UserError(f"{path}: duplicate column {header[header.duplicated()].iloc[0]!r}; keep one")
    table.columns = table.columns.str.strip()
    check_columns(table.columns, required, path)
    if columns is not None:  # before the others, perhaps of a million rows, are stripped
        table = table[[name for name in table if name in columns]]
    return stripped(table)


def stripped(table: pd.DataFrame) -> pd.DataFrame:
    """`table` (strings) without spaces around the fields, except names of files; empty fields as NaN."""
    return table.apply(lambda column: column if column.name in EXACT else _stripped(column))


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _separator(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, newline="") as file:
        header = next(iter(file), "")
    return max(",;\t", key=lambda separator: len(next(csv.reader([header], delimiter=separator), [])))


def read_lines(path: Path, fix: str) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        UserError: the file cannot be read; `fix` is the end of the message.
    """
    check_regular(path)
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; {fix}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable text file ({' '.join(str(error).split())}); {fix}") from None


def check_filled(table: pd.DataFrame, column: str, source: Path) -> None:
    """Raise a `UserError` that names the first row of the file `source` where `column` is empty."""
    empty = table[column].isna()
    if empty.any():
        raise UserError(f"{source}: row {int(empty.argmax()) + 2}: {column} is empty; fill it in or remove the row")


def letters(
    classes: pd.Series, names: pd.Series, source: Path, labels: Mapping[str, str | None] | None = None
) -> pd.Series:
    """Emotions as letters, from letters or words ("happy", "Sadness"); NaN stays NaN.

    Args:
        labels: the letter of further words; None for those that are left out (see `left_out`), which become NaN.

    Raises:
        UserError: there are other words; lists each of them, with the first of its utterances.
    """
    known = emotions(classes, labels)
    unknown = classes[classes.notna() & known.isna() & left_out(classes, labels or {}).isna()]
    if len(unknown):
        groups = unknown.groupby(unknown, sort=False)
        listed = ", ".join(
            f"{word!r} of {names[rows.index[0]]}" + (f" and {len(rows) - 1} others" if len(rows) > 1 else "")
            for word, rows in groups
        )
        fix = "; map them in corpus.labels to a letter, or to null to leave them out" if labels is not None else ""
        raise UserError(f"{source}: {classes.name} {listed} is invalid; valid: {', '.join(LETTERS)} or a word{fix}")
    return known


def emotions(words: pd.Series, labels: Mapping[str, str | None] | None = None) -> pd.Series:
    """The letters of emotions given as words or letters, in any case; NaN for anything else."""
    known = WORDS | {_folded(word): letter for word, letter in (labels or {}).items()}
    letter_of = {word: known.get(_folded(word)) or np.nan for word in words.dropna().unique()}
    return words.map(letter_of).astype(object)


def left_out(words: pd.Series, labels: Mapping[str, str | None]) -> pd.Series:
    """The words that `labels` leaves out; NaN for all others."""
    dropped = {_folded(word) for word, letter in labels.items() if letter is None}
    return words.where(words.map(lambda word: isinstance(word, str) and _folded(word) in dropped)).astype(object)


def _folded(word: str) -> str:
    return word.strip().lower()


def either(first: pd.Series, second: pd.Series) -> pd.Series:
    """`first` where it is not null, else `second`; both have the same index."""
    return pd.Series(np.where(first.notna(), first, second), index=first.index, dtype=object)


def numbers(
    table: pd.DataFrame, columns: Sequence[str], source: Path, attributes: tuple[float, float] = ATTRIBUTES
) -> pd.DataFrame:
    """Those of `columns` that `table` has, as float64.

    Args:
        attributes: the lowest and the highest value of `EMOTIONAL`. Votes, shares and seconds are 0 or more.

    Raises:
        UserError: a field is not a number in its range.
    """
    values = table[[column for column in columns if column in table]]
    converted = values.apply(pd.to_numeric, errors="coerce").astype(float)
    for column in values:
        wrong = values[column].notna() & ~np.isfinite(converted[column])
        check_values(values[column], wrong, table[KEY], source, "a number")
        low, high = attributes if column in EMOTIONAL else (0, MAX_NUMBER)
        wrong = (converted[column] < low) | (converted[column] > high)
        check_values(values[column], wrong, table[KEY], source, f"a number from {low:g} to {high:g}")
    return converted


def known(values: pd.Series) -> pd.Series:
    """Speakers or genders. "Unknown" becomes NaN; numbers written as floats ("30.0") become integers ("30")."""
    return values.where(values.str.lower() != "unknown").str.replace(r"^(\d+)\.0$", r"\1", regex=True)


def locate(names: pd.Series, root: Path, note: str = "") -> pd.DataFrame:
    """Paths of the files `names` in the corpus folder `root`.

    Args:
        note: added to the text of a problem.

    Returns:
        `path` and, for names that point outside `root` (`../`, absolute paths), the `problem`.
    """
    start = "" if root == Path() else str(root)
    paths = [os.path.join(start, name) for name in names]
    inside = os.path.join(os.path.abspath(root), "")
    outside = [
        ".." in name.split("/") or (name.startswith("/") and not os.path.normpath(name).startswith(inside))
        for name in names
    ]
    text = ", ".join(filter(None, (f"not a path inside the corpus folder {root}", note)))
    problem = pd.Series(outside, index=names.index, dtype=bool).map({True: text})
    return pd.DataFrame({"path": pd.Series(paths, index=names.index, dtype=object), "problem": problem})


def _stripped(column: pd.Series) -> pd.Series:
    stripped = column.astype(object).str.strip()
    return stripped.where(stripped != "")
