"""Confidence intervals of macro-F1 over resampled speakers."""

import pandas as pd

from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval
from abhinaya.evaluation.analysis.predictions import Evaluation

COLUMNS = ["split", "system", "n", "speakers", "macro_f1", "low", "high"]


def speakers(evaluation: Evaluation, bootstrap: Bootstrap) -> pd.DataFrame:
    """The interval of each system and ensemble by `Bootstrap.by_speaker`.

    Returns:
        A row for each split with enough speakers (`Split.speakers`) and system (COLUMNS): numbers of utterances and
        known `speakers`; macro-F1 as in scores.json, and its 95 % interval.
    """
    rows = []
    for split in evaluation.splits:
        if split.speakers is None:
            continue
        known = split.utterances["SpkrID"].nunique()
        resampled = bootstrap.by_speaker(split.speakers, split.truth, split.predicted, "speakers", split.name)
        for name, predicted in split.predicted.items():
            ends = interval(resampled[name])
            rows.append([split.name, name, len(split.truth), known, split.macro_f1(predicted), *ends])
    return pd.DataFrame(rows, columns=COLUMNS)
