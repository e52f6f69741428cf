"""Reading the paper's tables from the JSON files of make_paper_table.py."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from abhinaya.evaluation.metrics import first_error
from abhinaya.reporting.table import Table
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: `name` is the file's stem, `figure` an inline SVG or None."""

    name: str
    title: str
    caption: str
    table: Table
    notes: list[str] = field(default_factory=list)
    figure: str | None = None


def read_paper_tables(paths: list[Path]) -> list[PaperTable]:
    """Read the JSON files of make_paper_table.py, in the given order.

    Raises:
        UserError: a file is missing, invalid or has a duplicate name.
    """
    if repeated := [name for name, n in Counter(path.stem for path in paths).items() if n > 1]:
        raise UserError(f"--tables: duplicate name {repeated[0]!r}; give each table once")
    return [_read(path) for path in paths]


def _read(path: Path) -> PaperTable:
    try:
        return TypeAdapter(PaperTable).validate_python(read_json(path) | {"name": path.stem})
    except ValidationError as error:
        raise UserError(
            f"{path}: not a table of the paper ({first_error(error)}); give a JSON file of make_paper_table.py"
        ) from None
