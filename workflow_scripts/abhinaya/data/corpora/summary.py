"""Statistics of a corpus."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Column, Table

from abhinaya.data.schemas import DEVELOPMENT, SPLITS
from abhinaya.labels import EMOTIONS, LETTERS, NO_AGREEMENT, OTHER
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json

UNUSED = "unused"
NAMES = {**EMOTIONS, OTHER: "other", NO_AGREEMENT: "no agreement"}


def read_summary(path: Path) -> dict[str, Any]:
    """Read the summary that prepare_corpus.py wrote.

    Raises:
        UserError: the file is missing or is not a corpus summary.
    """
    summary = read_json(path)
    if not isinstance(summary.get("splits"), dict):
        raise UserError(f"{path}: not a corpus summary (no `splits`); give the summary.json of prepare_corpus.py")
    return summary


def summarise(manifest: pd.DataFrame, rejected: int) -> dict[str, Any]:
    """Count utterances, hours, speakers, classes and genders of each split.

    Returns:
        `{"utterances", "hours", "rejected", "splits": {split: {"utterances", "hours", "speakers", "by_speaker":
        {SpkrID: n}, "classes": {letter: n}, "gender": {name: n}, "imbalance"}}}` for train, validation, test,
        development if used, and unused. Unlabelled utterances are in no class; `imbalance` is the largest class over
        the smallest, null without labels.
    """
    splits = manifest["split"].fillna(UNUSED)
    used = [DEVELOPMENT] if (splits == DEVELOPMENT).any() else []
    return {
        "utterances": len(manifest),
        "hours": _hours(manifest),
        "rejected": rejected,
        "splits": {split: _describe(manifest[splits == split]) for split in (*SPLITS, *used, UNUSED)},
    }


def as_table(summary: dict[str, Any]) -> Table:
    """The summary as a printable table, one column per split."""
    splits = summary["splits"]
    title = f"{summary['utterances']:,} utterances, {summary['hours']:.2f} h, {summary['rejected']:,} rejected"
    table = Table("", *(Column(split, justify="right") for split in splits), title=title)
    for quantity, style in (("utterances", "{:,}"), ("hours", "{:.2f}"), ("speakers", "{:,}")):
        table.add_row(quantity, *(style.format(part[quantity]) for part in splits.values()))
    table.add_section()
    for letter, name in NAMES.items():
        counts = [part["classes"].get(letter, 0) for part in splits.values()]
        if any(counts):
            table.add_row(f"{letter} {name}", *(f"{count:,}" for count in counts))
    unlabelled = [part["utterances"] - sum(part["classes"].values()) for part in splits.values()]
    if any(unlabelled):
        table.add_row("unlabelled", *(f"{count:,}" for count in unlabelled))
    imbalances = [part["imbalance"] for part in splits.values()]
    table.add_row("largest / smallest", *("-" if value is None else f"{value:.1f}" for value in imbalances))
    table.add_section()
    for gender in sorted({gender for part in splits.values() for gender in part["gender"]}):
        table.add_row(escape(gender), *(f"{part['gender'].get(gender, 0):,}" for part in splits.values()))
    return table


def _describe(rows: pd.DataFrame) -> dict[str, Any]:
    counts = rows["EmoClass"].value_counts()
    classes = {letter: int(counts[letter]) for letter in LETTERS if letter in counts}
    return {
        "utterances": len(rows),
        "hours": _hours(rows),
        "speakers": rows["SpkrID"].nunique(),
        "by_speaker": rows["SpkrID"].value_counts().sort_index().to_dict(),
        "classes": classes,
        "gender": rows["Gender"].value_counts().sort_index().to_dict(),
        "imbalance": max(classes.values()) / min(classes.values()) if classes else None,
    }


def _hours(rows: pd.DataFrame) -> float:
    return round(rows["duration"].sum() / 3600, 6)
