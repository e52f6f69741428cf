"""The statistics of a corpus, compared with values counted by hand."""

from io import StringIO

import pandas as pd
from rich.console import Console

from abhinaya.data.corpora.summary import as_table, summarise

MANIFEST = pd.DataFrame(
    [
        ("train", "A", "1", "Male", 1800.0),
        ("train", "A", "1", "Male", 1800.0),
        ("train", "A", None, None, 900.0),
        ("train", "H", "2", "Female", 900.0),
        ("validation", "H", "3", "Female", 360.0),
        ("test", None, None, None, 36.0),
        (None, "X", "2", "Female", 3.6),
    ],
    columns=["split", "EmoClass", "SpkrID", "Gender", "duration"],
)


def test_summary_has_all_counts() -> None:
    summary = summarise(MANIFEST, rejected=2)
    assert (summary["utterances"], summary["rejected"], summary["hours"]) == (7, 2, 1.611)
    assert summary["splits"] == {
        "train": {
            "utterances": 4,
            "hours": 1.5,
            "speakers": 2,
            "by_speaker": {"1": 2, "2": 1},
            "classes": {"A": 3, "H": 1},
            "gender": {"Female": 1, "Male": 2},
            "imbalance": 3.0,
        },
        "validation": {
            "utterances": 1,
            "hours": 0.1,
            "speakers": 1,
            "by_speaker": {"3": 1},
            "classes": {"H": 1},
            "gender": {"Female": 1},
            "imbalance": 1.0,
        },
        "test": {
            "utterances": 1,
            "hours": 0.01,
            "speakers": 0,
            "by_speaker": {},
            "classes": {},
            "gender": {},
            "imbalance": None,
        },
        "unused": {
            "utterances": 1,
            "hours": 0.001,
            "speakers": 1,
            "by_speaker": {"2": 1},
            "classes": {"X": 1},
            "gender": {"Female": 1},
            "imbalance": 1.0,
        },
    }


def test_printed_table_has_the_counts() -> None:
    console = Console(width=80, file=StringIO())
    console.print(as_table(summarise(MANIFEST, rejected=2)))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    assert ["A angry", "3", "0", "0", "0"] in lines
    assert ["unlabelled", "0", "0", "1", "0"] in lines
    assert ["largest / smallest", "3.0", "1.0", "-", "1.0"] in lines


def test_markup_in_a_gender_is_escaped() -> None:
    console = Console(width=80, file=StringIO())
    console.print(as_table(summarise(MANIFEST.replace({"Gender": {"Male": "[/b]"}}), rejected=0)))
    assert "[/b]" in console.file.getvalue()
