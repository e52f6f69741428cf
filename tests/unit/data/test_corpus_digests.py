"""Digests of the manifest: each changes only with the columns and rows that its stage reads."""

import pandas as pd
import pytest

from abhinaya.data.corpora.digests import digests
from abhinaya.data.schemas import MANIFEST

ALL = {"all_audio", "used_audio", "training", "evaluation", "manifest", "references"}


def manifest() -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "FileName": ["a", "b", "c", "d"],
            "path": ["a.wav", "b.wav", "c.wav", "d.wav"],
            "split": ["train", "validation", "test", None],
            "EmoClass": ["A", "H", None, "X"],
            "duration": [1.0, 2.5, 3.0, 4.0],
        }
    )
    return rows.reindex(columns=MANIFEST.names)


def references() -> pd.DataFrame:
    return pd.DataFrame({"FileName": ["a"], "text": ["a sentence"]})


def test_development_utterances_are_predicted_but_not_trained_on() -> None:
    before, table = digests(manifest(), references()), manifest()
    table.loc[3, "split"] = "development"
    after = digests(table, references())
    assert {name for name in ALL if before[name] != after[name]} == {"used_audio", "evaluation", "manifest"}


@pytest.mark.parametrize(
    ("row", "column", "value", "changed"),
    [
        (0, "EmoClass", "N", {"training", "manifest"}),
        (1, "EmoClass", "N", {"training", "manifest"}),
        (2, "EmoClass", "N", {"manifest"}),
        (3, "EmoClass", "N", {"manifest"}),
        (0, "SpkrID", "7", {"manifest"}),
        (0, "EmoAct", 3.5, {"manifest"}),
        (0, "duration", 1.1, {"all_audio", "used_audio", "training", "manifest"}),
        (2, "path", "other.wav", {"all_audio", "used_audio", "evaluation", "manifest"}),
        (3, "path", "other.wav", {"all_audio", "manifest"}),
        (3, "split", "test", {"used_audio", "evaluation", "manifest"}),
        (0, "FileName", "z", ALL - {"evaluation", "references"}),
    ],
)
def test_digest_changes_with_the_columns_its_stage_reads(
    row: int, column: str, value: object, changed: set[str]
) -> None:
    before = digests(manifest(), references())
    other = manifest().astype({column: object})
    other.loc[row, column] = value
    after = digests(other, references())
    assert set(before) == ALL
    assert {name for name in ALL if before[name] != after[name]} == changed


def test_references_have_their_own_digest() -> None:
    before, after = digests(manifest(), references()), digests(manifest(), references().assign(text="another"))
    assert {name for name in ALL if before[name] != after[name]} == {"references"}


def test_null_and_empty_values_have_different_digests() -> None:
    empty = manifest().assign(SpkrID="")
    assert digests(manifest(), references())["manifest"] != digests(empty, references())["manifest"]
