"""Reading the files of a fusion for the report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from abhinaya.evaluation.fusion import rule
from abhinaya.evaluation.fusion.rule import FittedFusion

# The tables that fit_fusion.py writes: text columns, number columns.
TABLES = {
    "steps": ("split step cross_fitted configured", "n macro_f1 low high nll ece"),
    "step_comparisons": ("split a b", "difference low high p_bootstrap_holm p_speakers_holm"),
    "class_shares": ("split step class", "predicted probability true"),
    "step_reliability": ("split system", "low high n confidence accuracy"),
}


@dataclass(frozen=True)
class FusionResult:
    """A fitted fusion and the tables of fit_fusion.py, by name."""

    fusion: FittedFusion
    tables: dict[str, pd.DataFrame]

    @property
    def configured(self) -> str:
        """The step that the configuration chose."""
        steps = self.tables["steps"]
        return next(iter(steps["step"][steps["configured"] == "True"]), "")

    @property
    def before(self) -> str:
        """The step that pools the members as they are."""
        return "mean" if self.fusion.rule == "mean" else "log_mean"

    def describe(self) -> str:
        """A line for the table of scores."""
        return f"{self.fusion.rule} of {' '.join(self.fusion.members)}"


def read(description: Path, read_csv: Callable[[Path, list[str], list[str]], pd.DataFrame]) -> FusionResult:
    """Read a fusion's `ensemble.json` and the tables beside it.

    Args:
        read_csv: reads a table, from its path, text columns and number columns.

    Raises:
        UserError: a file is missing or invalid.
    """
    tables = {
        name: read_csv(description.parent / "fusion" / f"{name}.csv", texts.split(), numbers.split())
        for name, (texts, numbers) in TABLES.items()
    }
    return FusionResult(rule.read(description), tables)
