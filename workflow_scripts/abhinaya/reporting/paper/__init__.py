"""The tables and figures of the paper (Dutta et al., Interspeech 2025, arXiv 2505.18217) with our values."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from abhinaya.reporting.paper.class_table import table3
from abhinaya.reporting.paper.compare import ComparisonTable
from abhinaya.reporting.paper.corpus_table import section_4_1
from abhinaya.reporting.paper.inputs import Inputs, Settings, read
from abhinaya.reporting.paper.seed_table import seeds
from abhinaya.reporting.paper.system_tables import (
    figure2,
    section_4_6,
    table1,
    table1_submitted,
    table2,
    table4,
    zero_shot_speech,
)
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import write_csv, write_json, write_text

__all__ = ["TABLES", "ComparisonTable", "Inputs", "Settings", "make", "read", "write"]

TABLES: dict[str, Callable[[Inputs], ComparisonTable]] = {
    "table1": table1,
    "table1_submitted": table1_submitted,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "figure2": figure2,
    "section_4_1": section_4_1,
    "section_4_6": section_4_6,
    "zero_shot_speech": zero_shot_speech,
    "seeds": seeds,
}


def make(name: str, inputs: Inputs) -> ComparisonTable:
    """Make a table by its name.

    Raises:
        UserError: there is no such table; its configuration is missing, or a system in it has no scores.
    """
    if name not in TABLES:
        raise UserError(f"--table: no table {name!r}; choose from {', '.join(TABLES)}")
    return TABLES[name](inputs)


def write(name: str, table: ComparisonTable, folder: Path) -> list[Path]:
    """Write `{name}.csv`, `.md`, `.tex`, `.json` and, for a figure, `.svg` into `folder`; return their paths.

    The JSON contains `name`, `title`, `caption`, `notes`, `table` (a `Table`) and `figure` (an inline SVG with the
    colours of the report's page, or null).
    """
    paths = {kind: folder / f"{name}.{kind}" for kind in ("csv", "md", "tex", "json", *(["svg"] if table.svg else []))}
    write_csv(table.records, paths["csv"])
    write_text(markdown(table), paths["md"])
    write_text(table.table.latex(f"{table.title}. {table.caption}", f"tab:{name}", table.notes), paths["tex"])
    described = {"name": name, "title": table.title, "caption": table.caption, "notes": table.notes}
    write_json(described | {"table": asdict(table.table), "figure": table.figure}, paths["json"])
    if table.svg:
        write_text(table.svg, paths["svg"])
    return list(paths.values())


def markdown(table: ComparisonTable) -> str:
    """The table in Markdown with its heading, caption and notes."""
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"## {table.title}\n\n{table.caption}\n\n{table.table.markdown()}{notes}\n"
