"""The summary of the report."""

import numpy as np
import pandas as pd
import pytest

from abhinaya.reporting import report
from abhinaya.reporting.report import summary


def scored(value: float, low: float = 0.1, high: float = 0.9, n: int = 40) -> dict:
    return {"test": {"n": n, "macro_f1": value, "macro_f1_interval": [low, high]}, "validation": None}


def summary_of(inputs: report.Inputs) -> str:
    return " ".join(summary.results(inputs)).replace("\u00a0", " ")


def with_comparison(
    a: str, b: str, gap: float, low: float, high: float, p: float, holm: float, speakers: float = np.nan, pairs: int = 1
) -> dict:
    columns = [column for part in report.inputs.ANALYSIS["significance"] for column in part.split()]
    row = ["test", a, b, 40, gap, low, high, p, holm, low, high, speakers, speakers, 1, 1, p, holm]
    return {
        "significance": pd.DataFrame(
            [row, *[["test", "x", str(i), *row[3:]] for i in range(pairs - 1)]], columns=columns
        )
    }


VOTED = {"vote": pd.DataFrame({"vote_a": ["H"], "vote_b": ["N"], "EmoClass": ["H"]})}
TWO = {"a": scored(0.5), "b": scored(0.4)}
GAIN = "The vote of a and b reaches 55.0 %, 5.0 points above its best member, a"


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({}, f"{GAIN}; the significance of the difference was not tested."),
        (
            with_comparison("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.002, pairs=3),
            f"{GAIN} (95 % interval of the difference +1.0 to +9.0). "
            "The difference is significant (p = 0.002 after Holm's correction for 3 comparisons).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.001, speakers=0.03),
            "The difference is significant (p = 0.001); with resampled speakers it is significant (p = 0.030).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.01, 0.09, 0.001, 0.001, speakers=0.05),
            "The difference is significant (p = 0.001); with resampled speakers it is not significant (p = 0.050).",
        ),
        (
            with_comparison("vote", "a", 0.05, -0.01, 0.09, 0.2, 0.2, speakers=0.01),
            "The difference is not significant (p = 0.20).",
        ),
        (with_comparison("vote", "a", 0.05, 0.01, 0.09, 0.0002, 0.0002), "The difference is significant (p < 0.001)."),
        (
            with_comparison("a", "vote", -0.05, -0.09, 0.02, 0.31, 0.31),
            "(95 % interval of the difference −2.0 to +9.0). The difference is not significant (p = 0.31).",
        ),
        (  # 0 may lie just outside of the interval
            with_comparison("vote", "a", 0.05, 0.0005, 0.09, 0.0519, 0.0519),
            "(95 % interval of the difference +0.1 to +9.0). The difference is not significant (p = 0.052).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.0, 0.09, 0.05, 0.05),
            "The difference is not significant (p = 0.050).",
        ),
        (
            with_comparison("a", "vote", -0.05, -0.09, 0.02, 0.31, 0.93, pairs=3),
            "(95 % interval of the difference −2.0 to +9.0). "
            "The difference is not significant (p = 0.93 after Holm's correction for 3 comparisons).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.0005, 0.09, 0.0519, 0.156, pairs=3),
            "The difference is not significant (p = 0.16 after Holm's correction for 3 comparisons).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.01, 0.09, 0.008, 0.08, pairs=21),
            "The difference is not significant (p = 0.080 after Holm's correction for 21 comparisons).",
        ),
        (
            with_comparison("vote", "a", 0.05, 0.01, 0.09, np.nan, np.nan),
            f"{GAIN} (95 % interval of the difference +1.0 to +9.0).",
        ),
    ],
)
def test_summary_gives_the_gain_of_the_vote_and_its_significance(analysis, expected):
    text = summary_of(report.Inputs("", TWO | {"vote": scored(0.55)}, votes=VOTED, analysis=analysis))
    assert text.startswith("On test (40 utterances), vote has the highest macro-F1 of 3 systems and ensembles: 55.0 %")
    assert text.endswith(expected)


@pytest.mark.parametrize(
    ("scores", "votes", "expected"),
    [
        (
            {"a": scored(0.5, 0.4, 0.6, n=1)},
            {},
            "On test (1 utterance), a reaches a macro-F1 of 50.0 % (95 % interval 40.0 to 60.0).",
        ),
        (
            TWO,
            {},
            "of 2 systems: 50.0 % (95 % interval 10.0 to 90.0). That is 10.0 points above the second, b; ",
        ),
        ({"a": scored(0.5), "b": scored(0.49)}, {}, "That is 1.0 point above the second, b; the significance"),
        ({"a": scored(0.5), "b": scored(0.5)}, {}, "That is as much as the second, b."),
        (TWO | {"vote": scored(0.45)}, VOTED, "reaches 45.0 %, 5.0 points below its best member, a;"),
        (TWO | {"vote": scored(0.5)}, VOTED, "reaches 50.0 %, as much as its best member, a."),
        ({"vote": scored(0.5)}, VOTED, "vote reaches a macro-F1 of 50.0 %"),
        ({"a": {"validation": None, "test": None}}, {}, "No utterance has a label, so there are no scores."),
    ],
)
def test_summary_names_the_best_system(scores, votes, expected):
    assert expected in summary_of(report.Inputs("", scores, votes=votes))


def test_summary_names_the_best_of_several_ensembles():
    scores = TWO | {"vote": scored(0.55), "pair": scored(0.6)}
    votes = VOTED | {"pair": VOTED["vote"]}
    assert "The vote of a and b (pair) reaches 60.0 %" in summary_of(report.Inputs("", scores, votes=votes))


def test_summary_of_validation_mentions_the_selection_of_checkpoints():
    scores = {"a": {"validation": scored(0.5)["test"], "test": None}}
    assert "On validation (40 utterances)" in summary_of(report.Inputs("", scores))
    assert "selected on validation" not in summary_of(report.Inputs("", scores))
    assert "selected on validation" in summary_of(report.Inputs("", scores, metrics={"a": {"epochs": []}}))


@pytest.mark.parametrize(
    ("corpus", "notes", "expected"),
    [
        ({}, [], ""),
        ({"utterances": 1}, [], "The corpus has 1 utterance."),
        (
            {"utterances": 1200, "hours": 2.25, "splits": {"train": {"utterances": 1190}, "test": {"utterances": 10}}},
            [],
            "The corpus has 1,200 utterances (2.2 hours): 1,190 for training and 10 for test.",
        ),
        ({"rejected": 1}, ["n"], "Limitations: 1 note on systems and 1 utterance rejected."),
        ({"rejected": 2}, ["n", "n"], "Limitations: 2 notes on systems and 2 utterances rejected."),
    ],
)
def test_summary_contains_the_corpus_and_limitations(corpus, notes, expected):
    sentences = summary.context(report.Inputs("", TWO, configs={"a": {"notes": notes}}, summary=corpus))
    assert " ".join(sentences) == expected


def test_unlabelled_utterances_are_a_limitation():
    scores = {"a": {"validation": None, "test": None, "unlabelled": {"test": 3200}}}
    assert summary.context(report.Inputs("", scores)) == ["Limitations: 3,200 test utterances without a label."]
