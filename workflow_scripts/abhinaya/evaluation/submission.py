"""The challenge's submission: `FileName`, `EmoClass` of every test file, checked before the leaderboard does."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from abhinaya.data.schemas import KEY
from abhinaya.labels import CLASSES
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError

COLUMNS = (KEY, "EmoClass")
NAMED = 3  # files that a line spells out


def read(path: Path) -> pd.DataFrame:
    """A submission as it stands, all fields as text.

    Raises:
        UserError: absent, or no CSV whose rows have as many fields as its header; a byte order mark precedes it.
    """
    return _read(path)


def read_rejected(path: Path) -> list[str]:
    """The test files in a corpus's `rejected.csv`.

    Raises:
        UserError: as `read`, or without the columns `FileName` and `role`.
    """
    table = _read(path)
    if any([*table.columns].count(name) != 1 for name in (KEY, "role")):
        raise UserError(f"{path}: no column {KEY} or role, or two; prepare the corpus again")
    return table[KEY][table["role"] == "test"].tolist()


def problems(submission: pd.DataFrame, manifest: pd.DataFrame, rejected: Sequence[str] = ()) -> list[str]:
    """What the leaderboard would refuse, a line for each kind; none of a good submission.

    Args:
        manifest: of the corpus; its rows with `split` `test` are what it wants.
        rejected: further test files, without readable audio: they may be there, or not.
    """
    if tuple(submission.columns) != COLUMNS:
        return [f"the header is {printable(','.join(submission.columns))}; it must be {','.join(COLUMNS)}"]
    names, letters = submission[KEY], submission["EmoClass"]
    wanted = manifest[KEY][manifest["split"] == "test"]
    unlettered = names + ": " + letters.replace("", "nothing")
    kinds = {
        "missing test files": wanted[~wanted.isin(names)],
        "no test files of the manifest": names[~names.isin([*wanted, *rejected])].drop_duplicates(),
        "files that stand more than once": names[names.duplicated()].drop_duplicates(),
        f"labels that are none of {', '.join(CLASSES)}": unlettered[~letters.isin(CLASSES)],
    }
    return [f"{kind}: {len(found)} ({listed(found.tolist())})" for kind, found in kinds.items() if len(found)]


def warnings(submission: pd.DataFrame, rejected: Sequence[str]) -> list[str]:
    """What the leaderboard may refuse: test files that have no readable audio, and so no label."""
    missing = [name for name in rejected if name not in set(submission[KEY])]
    return [
        f"test files rejected as unusable, and so missing: {len(missing)} ({listed(missing)}); the leaderboard wants "
        "them, too: fetch them anew, or add labels by hand"
    ] * bool(missing)


def listed(names: Sequence[str]) -> str:
    """The first few, for a line."""
    return ", ".join(map(printable, names[:NAMED])) + (", …" if len(names) > NAMED else "")


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it first or correct the path")
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            for row in lines:  # pandas would drop what is too much, fill up what lacks and skip empty lines
                if len(row) != len(header):
                    fault = f"line {lines.line_num} has {len(row)} fields, the header {len(header)}"
                    raise UserError(f"{path}: {fault}; mend it")
                rows.append(row)
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({' '.join(str(error).split())}); make it again") from None
    if not header:
        raise UserError(f"{path}: not a readable CSV (no header); make it again")
    if header[0].startswith("\ufeff"):
        raise UserError(f"{path}: begins with a byte order mark; save it as UTF-8 without one")
    return pd.DataFrame(rows, columns=header, dtype=str)
