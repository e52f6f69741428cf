"""Printing the results of checks."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from abhinaya.preflight import Finding


def show(findings: Iterable[Finding]) -> list[Finding]:
    """Print each result as a line as soon as it is there; return all."""
    console, shown = Console(soft_wrap=True, highlight=False), []
    for finding in findings:
        shown.append(finding)
        mark = Text("error", "bold red") if finding.failed else Text("ok   ", "green")
        console.print(Text.assemble(mark, "  ", (f"{finding.check}: ", "bold"), finding.message))
    return shown
