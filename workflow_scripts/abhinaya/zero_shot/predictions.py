"""What becomes of the answers of a language model that labels without training, whether it reads or hears."""

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
        ("text", pa.string()),  # the transcript as it was; null for a model that hears
        ("status", pa.string()),  # one of STATUSES; all but the first got the fallback
        ("EmoClass", pa.string()),
        ("answer", pa.string()),  # raw; in scored mode the words of the letters, for each order of the options
        ("reason", pa.string()),  # of a refusal
        ("cut", pa.bool_()),  # longer than `max_characters`
        *[(column, pa.float64()) for column in schemas.PROBABILITIES],
        ("generated_tokens", pa.int64()),
    ]
)


def check_fallback(fallback: str, classes: Sequence[str]) -> None:
    """Raise a `UserError` unless `fallback` is one of the corpus's `classes`."""
    if fallback not in classes:
        raise UserError(f"fallback {fallback!r}: none of the corpus's classes {', '.join(classes)}; set one")


def check_labelled(outcomes: Sequence[LabellingResult], asked: str, fix: str) -> None:
    """Raise a `UserError` where there are outcomes, but no label: what was `asked` about, and the `fix`."""
    if outcomes and not any(outcome.status == "labelled" for outcome in outcomes):
        ((answer, count),) = Counter(outcome.answer or outcome.reason for outcome in outcomes).most_common(1)
        raise UserError(
            f"none of the {len(outcomes)} {asked} could be labelled; the commonest answer, {count} times, is "
            f"{reprlib.repr(answer)}; {fix}"
        )


def audited(
    rows: pd.DataFrame, outcomes: Sequence[LabellingResult], cut: Sequence[bool], fallback: str
) -> pd.DataFrame:
    """The table `AUDIT` of `rows` (`FileName`, `split`, `text`), given what became of each, and whether it was cut."""
    values = np.array([one_hot(fallback) if each.probabilities is None else each.probabilities for each in outcomes])
    values = values.reshape(len(rows), len(CLASSES))
    table = rows[[schemas.KEY, "split", "text"]].reset_index(drop=True)
    table["status"] = [each.status for each in outcomes]
    table["EmoClass"] = [CLASSES[index] for index in values.argmax(-1)]
    table["answer"] = [each.answer for each in outcomes]
    table["reason"] = [each.reason for each in outcomes]
    table["cut"] = list(cut)
    table[list(schemas.PROBABILITIES)] = values
    table["generated_tokens"] = pd.array([each.generated_tokens for each in outcomes], dtype="Int64")
    return table


def predicted(audit: pd.DataFrame) -> pd.DataFrame:
    """The predictions (columns `tables.PREDICTIONS`) in an `AUDIT`."""
    return audit.rename(columns={"split": "Split"})[list(schemas.PREDICTIONS)]


def counted(audit: pd.DataFrame, speed: float | None) -> dict[str, int]:
    """How many rows have each status; tells it, and the speed in labels/s, on a closing line."""
    found = Counter(audit["status"])
    told = ", ".join(f"{found[status]} {status}" for status in STATUSES)
    print(f"{told}; {'nothing to ask' if speed is None else f'{speed:.1f} labels/s'}", file=sys.stderr)
    return {status: found[status] for status in STATUSES}


def fallback_notes(counts: dict[str, int], fallback: str) -> list[str]:
    """What got the fallback, in a sentence for a reader of the scores, if anything did."""
    kinds = {"empty": "empty transcript", "unparsable": "unparsable answer", "refused": "refused request"}
    told = [f"{counts[status]} {name}{'s' * (counts[status] != 1)}" for status, name in kinds.items() if counts[status]]
    if not told:
        return []
    verb = "was" if sum(counts[status] for status in kinds) == 1 else "were"
    return [f"{prompts.listed(told, 'and')} {verb} labelled {EMOTIONS[fallback]}, the fallback."]
