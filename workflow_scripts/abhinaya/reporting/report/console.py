"""Printing the report's tables on a terminal or in a log."""

import sys

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from abhinaya.reporting.table import Table


def show(table: Table) -> None:
    """Print scores and intervals, the best in bold."""
    shown = RichTable(box=box.SIMPLE)
    for position, heading in enumerate(table.headings()):
        shown.add_column(escape(heading), justify="right" if position else "left")
    for name, *cells in table.rows:
        numbers = [escape(f"{cell.text}\n{cell.detail}") for cell in cells]
        styled = [f"[bold]{text}[/]" if cell.best else text for text, cell in zip(numbers, cells, strict=True)]
        shown.add_row(escape(name.text), *styled)
    width = None if sys.stdout.isatty() else 120  # fixed width for log files
    Console(width=width).print(shown)
