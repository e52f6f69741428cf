"""Validation of the challenge's submission: `FileName`, `EmoClass` of every test file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from abhinaya.data.schemas import KEY, read_manifest
from abhinaya.evaluation.voting import listed
from abhinaya.labels import CLASSES
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.runtime.files import existing

COLUMNS = (KEY, "EmoClass")


def read(path: Path) -> pd.DataFrame:
    """Read a submission, all fields as text.

    Raises:
        UserError: the file is missing, is not a valid CSV, has rows of another length than the header, or begins with a
            byte order mark.
    """
    rows = []
    try:
        with existing(path).open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            for row in lines:  # pandas would drop extra fields, fill missing ones and skip empty lines
                if len(row) != len(header):
                    fault = f"line {lines.line_num} has {len(row)} fields, the header {len(header)}"
                    raise UserError(f"{path}: {fault}; fix the line")
                rows.append(row)
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({' '.join(str(error).split())}); recreate it") from None
    if not header:
        raise UserError(f"{path}: not a readable CSV (no header); recreate it")
    if header[0].startswith("\ufeff"):
        raise UserError(f"{path}: starts with a byte order mark; save it as UTF-8 without one")
    return pd.DataFrame(rows, columns=header, dtype=str)


def read_rejected(path: Path) -> list[str]:
    """The test files in a corpus's `rejected.csv`.

    Raises:
        UserError: as `read`, or a column `FileName` or `role` is missing or duplicated.
    """
    table = read(path)
    if any([*table.columns].count(name) != 1 for name in (KEY, "role")):
        raise UserError(f"{path}: column {KEY} or role is missing or duplicated; prepare the corpus again")
    return table[KEY][table["role"] == "test"].tolist()


def check(submission: pd.DataFrame, manifest: Path, rejected: Path | None) -> None:
    """Check a submission before it is written; print what may be missing.

    Args:
        manifest, rejected: manifest.parquet and rejected.csv of the corpus.

    Raises:
        UserError: the leaderboard would reject it, or a file is invalid.
    """
    names = read_rejected(rejected) if rejected else []
    if found := problems(submission, read_manifest(manifest), names):
        raise UserError(f"submission: {'; '.join(found)}; predict with all members on this manifest")
    for warning in warnings(submission, names):
        print_line(f"warning: submission: {warning}")


def problems(submission: pd.DataFrame, manifest: pd.DataFrame, rejected: Sequence[str] = ()) -> list[str]:
    """What the leaderboard would reject: one line per kind, empty for a valid submission.

    Args:
        manifest: of the corpus; its rows with `split` `test` are required.
        rejected: test files without readable audio, which are optional.
    """
    if tuple(submission.columns) != COLUMNS:
        return [f"invalid header {printable(','.join(submission.columns))}; it must be {','.join(COLUMNS)}"]
    names, letters = submission[KEY], submission["EmoClass"]
    expected = manifest[KEY][manifest["split"] == "test"]
    invalid = names + ": " + letters.replace("", "(empty)")
    kinds = {
        "missing test files": expected[~expected.isin(names)],
        "files that are not test files of the manifest": names[~names.isin([*expected, *rejected])].drop_duplicates(),
        "duplicate files": names[names.duplicated()].drop_duplicates(),
        f"labels other than {', '.join(CLASSES)}": invalid[~letters.isin(CLASSES)],
    }
    return [f"{kind}: {len(values)} ({listed(values.tolist())})" for kind, values in kinds.items() if len(values)]


def warnings(submission: pd.DataFrame, rejected: Sequence[str]) -> list[str]:
    """What the leaderboard may reject: rejected test files, which have no label."""
    missing = [name for name in rejected if name not in set(submission[KEY])]
    if not missing:
        return []
    return [
        f"missing test files, rejected because of their audio: {len(missing)} ({listed(missing)}); the leaderboard "
        "expects them: download them again, or add labels by hand"
    ]
