"""Predictions and response tables of zero-shot systems."""

import reprlib
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from abhinaya.data import schemas
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import prompts
from abhinaya.zero_shot.tasks import LabellingResult, one_hot

STATUSES = ("labelled", "empty", "unparsable", "refused")
AUDIT = pa.schema(
    [
        pa.field(schemas.KEY, pa.string(), nullable=False),
        ("split", pa.string()),
        ("text", pa.string()),  # the original transcript; null for a speech LLM
        ("status", pa.string()),  # one of STATUSES; all but the first have the fallback label
        ("EmoClass", pa.string()),
        ("answer", pa.string()),  # raw; in scored mode the emotions of the letters, for each order of the options
        ("reason", pa.string()),  # of a refusal
        ("cut", pa.bool_()),  # longer than `max_characters`
        *[(column, pa.float64()) for column in schemas.PROBABILITIES],
        ("generated_tokens", pa.int64()),
    ]
)


def check_fallback(fallback: str, classes: Sequence[str]) -> None:
    """Raise a `UserError` unless `fallback` is one of the corpus's `classes`."""
    if fallback not in classes:
        raise UserError(f"fallback {fallback!r}: not a class of the corpus; choose from {', '.join(classes)}")


def check_labelled(outcomes: Sequence[LabellingResult], items: str, fix: str) -> None:
    """Raise a `UserError` if none of the `items` has a label; `fix` says how to fix it."""
    if outcomes and not any(outcome.status == "labelled" for outcome in outcomes):
        ((answer, count),) = Counter(outcome.answer or outcome.reason for outcome in outcomes).most_common(1)
        raise UserError(
            f"none of {len(outcomes)} {items} could be labelled; the most frequent response ({count} times) is "
            f"{reprlib.repr(answer)}; {fix}"
        )


def audited(
    rows: pd.DataFrame, outcomes: Sequence[LabellingResult], cut: Sequence[bool], fallback: str
) -> pd.DataFrame:
    """The table `AUDIT` of `rows` (`FileName`, `split`, `text`) and their results.

    Args:
        cut: whether the transcript of each row was truncated.
    """
    values = np.array([one_hot(fallback) if each.probabilities is None else each.probabilities for each in outcomes])
    values = values.reshape(len(rows), len(CLASSES))
    table = rows[[schemas.KEY, "split", "text"]].reset_index(drop=True)
    for name in ("status", "answer", "reason"):
        table[name] = [getattr(each, name) for each in outcomes]
    table["EmoClass"] = [CLASSES[index] for index in values.argmax(-1)]
    table["cut"] = list(cut)
    table[list(schemas.PROBABILITIES)] = values
    table["generated_tokens"] = pd.array([each.generated_tokens for each in outcomes], dtype="Int64")
    return table[AUDIT.names]


def predicted(audit: pd.DataFrame) -> pd.DataFrame:
    """The predictions (columns `schemas.PREDICTIONS`) in an `AUDIT`."""
    return audit.rename(columns={"split": "Split"})[list(schemas.PREDICTIONS)]


def counted(audit: pd.DataFrame, speed: float | None) -> dict[str, int]:
    """Count the rows of each status; print the counts and the speed in labels/s."""
    counts = Counter(audit["status"])
    text = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    print(f"{text}; {'all from stored responses' if speed is None else f'{speed:.1f} labels/s'}", file=sys.stderr)
    return {status: counts[status] for status in STATUSES}


def fallback_notes(counts: dict[str, int], fallback: str) -> list[str]:
    """A sentence about utterances with the fallback label, if any."""
    kinds = {"empty": "empty transcript", "unparsable": "unparsable response", "refused": "refused request"}
    parts = [
        f"{counts[status]} {name}{'s' * (counts[status] != 1)}" for status, name in kinds.items() if counts[status]
    ]
    if not parts:
        return []
    verb = "was" if sum(counts[status] for status in kinds) == 1 else "were"
    return [f"{prompts.listed(parts, 'and')} {verb} labelled {EMOTIONS[fallback]}, the fallback."]
