"""The paper's tables as make_paper_table.py leaves them for the pages."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from abhinaya.reporting.table import Table
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: `name` is its file's stem, `figure` an inline SVG, made by us, or None."""

    name: str
    title: str
    caption: str
    table: Table
    notes: list[str] = field(default_factory=list)
    figure: Markup | None = None


def read_paper_tables(paths: list[Path]) -> list[PaperTable]:
    """Read the JSON files of make_paper_table.py, in the order given.

    Raises:
        UserError: a file that is absent, no such table, or of the same name as another.
    """
    if repeated := [name for name, n in Counter(path.stem for path in paths).items() if n > 1]:
        raise UserError(f"--tables: two are called {repeated[0]!r}; give each table once")
    return [_read(path) for path in paths]


def _read(path: Path) -> PaperTable:
    found = read_json(path)
    try:
        figure = found.get("figure")
        return PaperTable(
            name=path.stem,
            title=str(found["title"]),
            caption=str(found["caption"]),
            table=Table.from_dict(found["table"]),
            notes=[str(note) for note in found.get("notes", [])],
            figure=Markup(figure) if figure else None,  # drawn by us
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: no table of the paper ({error!r}); give a JSON file as make_paper_table.py writes it"
        ) from None
