"""The most confident errors."""

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY
from abhinaya.evaluation.analysis.predictions import Evaluation, Split
from abhinaya.labels import CLASSES

MAX_ERRORS = 20
COLUMNS = [
    "system", "split", KEY, "truth", "predicted", "confidence", "p_truth", "votes", "text", "path", "duration",
]  # fmt: skip


def worst_errors(evaluation: Evaluation, limit: int = MAX_ERRORS) -> pd.DataFrame:
    """The `limit` most confident errors of each ensemble, or of each system if there is no ensemble.

    Returns:
        A row for each (COLUMNS), sorted by confidence, then `FileName`: the probabilities of the
        predicted label (`confidence`) and of the true one (`p_truth`); the `votes` of an ensemble's members, such as
        "s1:H s2:N"; the transcript, empty if missing; the audio's `path` and `duration` (s).
    """
    if not evaluation.splits:
        return pd.DataFrame(columns=COLUMNS)
    tables = []
    for name in evaluation.ensembles or evaluation.splits[0].predictions:
        members = evaluation.ensembles[name].members if name in evaluation.ensembles else []
        errors = pd.concat([_wrong(split, name, members) for split in evaluation.splits])
        tables.append(errors.sort_values(["confidence", KEY], ascending=[False, True]).head(limit))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _wrong(split: Split, name: str, members: list[str]) -> pd.DataFrame:
    predicted = split.predicted[name]
    votes = [f"{member}:" + split.predictions[member]["EmoClass"] for member in members]
    table = split.utterances.assign(
        system=name,
        truth=split.utterances["EmoClass"],
        predicted=np.array(CLASSES)[predicted],
        confidence=split.probability(name, predicted),
        p_truth=split.probability(name, split.truth),
        votes=votes[0].str.cat(votes[1:], sep=" ") if votes else "",
        text=split.utterances["text"].fillna(""),
    )
    return table[predicted != split.truth].reset_index()
