"""Scores by gender, speaker, duration, number of words and annotator agreement."""

import numpy as np
import pandas as pd

from abhinaya.data.schemas import VOTES
from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval
from abhinaya.evaluation.analysis.predictions import Evaluation, Split, confusion, encode
from abhinaya.evaluation.metrics import score_confusion

MAX_SPEAKERS = 10
OTHERS = "other speakers"
# Lower bounds of the bins, with their names.
DURATIONS = {0: "under 2 s", 2: "2 to 4 s", 4: "4 to 6 s", 6: "6 to 8 s", 8: "8 to 10 s", 10: "10 s and more"}
WORDS = {0: "none", 1: "1 to 5", 6: "6 to 10", 11: "11 to 20", 21: "21 to 50", 51: "over 50"}
AGREEMENTS = {0: "below half", 1 / 2: "half to two thirds", 2 / 3: "two thirds and more", 1: "all"}
COLUMNS = ["system", "split", "variable", "group", "n", "macro_f1", "low", "high", "uar", "accuracy"]


def subgroups(evaluation: Evaluation, bootstrap: Bootstrap) -> pd.DataFrame:
    """Score each system and ensemble on each group of utterances.

    Utterances with an unknown value are in no group. Macro-F1 of a group is averaged over the classes that occur in its
    truth (in scores.json also over predicted ones), so over the same classes for all systems. Groups with different
    classes are not comparable. With one or two utterances of a class in a group, the interval is too narrow.

    Returns:
        A row for each system, split, variable and group that is not empty (COLUMNS): macro-F1 with its 95 %
        interval by the stratified bootstrap, UAR, accuracy. Variables: `gender`; `speaker` (the ten with most
        utterances in the split, and all others together); `duration`; `words` of the transcript; `agreement`, the
        share of the annotators' votes for one of the eight labels that went to the utterance's.
    """
    rows = []
    for split in evaluation.splits:
        groups = group(split)
        for name, predicted in split.predicted.items():
            for variable, values in groups.items():
                for chosen in values.cat.categories:
                    members = (values == chosen).to_numpy()
                    if members.any():
                        counts = confusion(split.truth[members], predicted[members])
                        occurs = counts.any(axis=1)
                        resampled = bootstrap.macro_f1(counts, occurs, "subgroup", split.name, name, variable, chosen)
                        scores = score_confusion(counts, occurs)
                        macro_f1 = [scores["macro_f1"], *interval(resampled)]
                        place = [name, split.name, variable, chosen, members.sum()]
                        rows.append([*place, *macro_f1, scores["uar"], scores["accuracy"]])
    return pd.DataFrame(rows, columns=COLUMNS)


def group(split: Split) -> pd.DataFrame:
    """The group of each utterance by each variable: ordered categories, null if the value is unknown."""
    rows = split.utterances
    words = rows["text"].map(lambda text: len(text.split()), na_action="ignore")
    return pd.DataFrame(
        {
            "gender": rows["Gender"].astype("category"),
            "speaker": _speakers(rows["SpkrID"]),
            "duration": _bin(rows["duration"], DURATIONS),
            "words": _bin(words, WORDS),
            "agreement": _bin(_agreement(rows), AGREEMENTS),
        }
    )


def _bin(values: pd.Series, bins: dict[float, str]) -> pd.Series:
    return pd.cut(values.astype(float), [*bins, np.inf], right=False, labels=list(bins.values()))


def _speakers(speakers: pd.Series) -> pd.Series:
    """The most frequent speakers, most utterances first (by name when equal); the others are one group."""
    counts = speakers.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    shown = list(counts.index[:MAX_SPEAKERS])
    named = speakers.where(speakers.isna() | speakers.isin(shown), OTHERS)
    return named.astype(pd.CategoricalDtype(list(dict.fromkeys([*shown, OTHERS])), ordered=True))


def _agreement(rows: pd.DataFrame) -> pd.Series:
    votes = rows[list(VOTES)].to_numpy(float)
    label = votes[np.arange(len(votes)), encode(rows["EmoClass"])]
    total = np.nansum(votes, axis=1)
    share = np.divide(label, total, out=np.full(len(votes), np.nan), where=total > 0)
    return pd.Series(share, index=rows.index)
