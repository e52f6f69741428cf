"""The tables and figures of the paper (Dutta et al., Interspeech 2025, arXiv 2505.18217), ours beside the published."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from abhinaya.reporting.paper.class_table import table3
from abhinaya.reporting.paper.compare import Made
from abhinaya.reporting.paper.corpus_table import section_4_1
from abhinaya.reporting.paper.inputs import Inputs, Settings, read
from abhinaya.reporting.paper.seed_table import seeds
from abhinaya.reporting.paper.system_tables import figure2, section_4_6, table1, table2, table4, zero_shot_speech
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import write_csv, write_json, write_text

__all__ = ["TABLES", "Inputs", "Made", "Settings", "make", "read", "write"]

TABLES: dict[str, Callable[[Inputs], Made]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "figure2": figure2,
    "section_4_1": section_4_1,
    "section_4_6": section_4_6,
    "zero_shot_speech": zero_shot_speech,
    "seeds": seeds,
}


def make(name: str, inputs: Inputs) -> Made:
    """Make a table by its name.

    Raises:
        UserError: no such table; the configuration has nothing for it, or names what has no scores.
    """
    if name not in TABLES:
        raise UserError(f"--table: no table {name!r}; choose from {', '.join(TABLES)}")
    return TABLES[name](inputs)


def write(name: str, made: Made, folder: Path) -> list[Path]:
    """Write `{name}.csv`, `.md`, `.tex`, `.json` and, of a figure, `.svg` into `folder`; their paths.

    The JSON contains `name`, `title`, `caption`, `notes`, `table` (a `Table`) and `figure` (an inline SVG with the
    colours of the report's page, or null).
    """
    paths = {kind: folder / f"{name}.{kind}" for kind in ("csv", "md", "tex", "json", *(["svg"] if made.svg else []))}
    write_csv(made.records, paths["csv"])
    write_text(markdown(made), paths["md"])
    write_text(made.table.latex(f"{made.title}. {made.caption}", f"tab:{name}", made.notes), paths["tex"])
    described = {"name": name, "title": made.title, "caption": made.caption, "notes": made.notes}
    write_json(described | {"table": asdict(made.table), "figure": made.figure}, paths["json"])
    if made.svg:
        write_text(made.svg, paths["svg"])
    return list(paths.values())


def markdown(made: Made) -> str:
    """The table in Markdown with its heading, caption and notes."""
    notes = "".join(f"\n- {note}" for note in made.notes)
    return f"## {made.title}\n\n{made.caption}\n\n{made.table.markdown()}{notes}\n"
