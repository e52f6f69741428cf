"""The challenge's submission: `FileName`, `EmoClass` of every test file, checked before the leaderboard does."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from abhinaya.errors import UserError
from abhinaya.labels import CLASSES
from abhinaya.screen import printable
from abhinaya.tables import KEY

COLUMNS = (KEY, "EmoClass")
NAMED = 3  # files that a line spells out


def read(path: Path) -> pd.DataFrame:
    """A submission as it stands, all fields as text.

    Raises:
        UserError: absent, or no CSV.
    """
    return _read(path)


def read_rejected(path: Path) -> list[str]:
    """The test files in a corpus's `rejected.csv`.

    Raises:
        UserError: absent, no CSV, or without the columns `FileName` and `role`.
    """
    table = _read(path)
    if not {KEY, "role"} <= {*table.columns}:
        raise UserError(f"{path}: no column {KEY} or role; prepare the corpus again")
    return table[KEY][table["role"] == "test"].tolist()


def problems(submission: pd.DataFrame, manifest: pd.DataFrame, rejected: Sequence[str] = ()) -> list[str]:
    """What the leaderboard would refuse, a line for each kind; none of a good submission.

    Args:
        manifest: of the corpus; its rows with `split` `test` are what it wants.
        rejected: further test files, without readable audio: they may be there, or not.
    """
    if tuple(submission.columns) != COLUMNS:
        return [f"the header is {','.join(submission.columns)}; it must be {','.join(COLUMNS)}"]
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
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({' '.join(str(error).split())}); make it again") from None
