"""Predictions of another program: what is taken from the CSV, and what is reported."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import import_predictions
from abhinaya.data.schemas import KEY, PREDICTIONS, PROBABILITIES, read_predictions, write_manifest
from abhinaya.labels import CLASSES
from abhinaya.prediction import external
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json
from support.fusion_parts import manifest, sample, tables


@pytest.fixture
def rows() -> pd.DataFrame:
    parts = [manifest(sample(4, seed=seed), split) for seed, split in enumerate(("train", "validation", "test"))]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def theirs(rows: pd.DataFrame) -> pd.DataFrame:
    made = [
        tables(sample(4, seed=seed), ["theirs"], split)["theirs"] for seed, split in ((1, "validation"), (2, "test"))
    ]
    return pd.concat(made).reset_index()[[KEY, *PROBABILITIES]]


def save(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "theirs.csv", index=False)
    return folder / "theirs.csv"


def test_splits_and_labels_are_completed(rows, theirs, tmp_path) -> None:
    table = theirs.sample(frac=1, random_state=1).assign(comment="x")  # any order, further columns
    found = external.read(save(table, tmp_path), rows)
    assert tuple(found.columns) == PREDICTIONS
    assert found[KEY].tolist() == rows.loc[rows["split"] != "train", KEY].tolist()
    assert found["Split"].tolist() == ["validation"] * 4 + ["test"] * 4
    values = theirs.set_index(KEY).loc[found[KEY]].to_numpy()
    assert found[list(PROBABILITIES)].to_numpy() == pytest.approx(values)
    assert found["EmoClass"].tolist() == [CLASSES[best] for best in values.argmax(axis=1)]


def test_given_labels_are_kept_and_other_utterances_ignored(rows, theirs, tmp_path) -> None:
    more = theirs.iloc[[0]].assign(FileName="elsewhere.wav")
    found = external.read(save(pd.concat([theirs, more]).assign(EmoClass="F"), tmp_path), rows)
    assert len(found) == 8
    assert set(found["EmoClass"]) == {"F"}


def test_rounded_probabilities_sum_to_one(rows, theirs, tmp_path) -> None:
    found = external.read(save(theirs.round(4), tmp_path), rows)
    assert found[list(PROBABILITIES)].to_numpy().sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_the_script_writes_predictions_and_their_source(rows, theirs, tmp_path, monkeypatch) -> None:
    write_manifest(rows, tmp_path / "manifest.parquet")
    paths = {"preds": save(theirs, tmp_path), "manifest": tmp_path / "manifest.parquet"}
    paths |= {"output": tmp_path / "theirs" / "preds.csv", "source": tmp_path / "theirs" / "source.json"}
    arguments = [str(part) for key, path in paths.items() for part in (f"--{key}", path)]
    monkeypatch.setattr(sys, "argv", ["import_predictions.py", *arguments])
    import_predictions.main()
    assert len(read_predictions(paths["output"])) == 8
    assert read_json(paths["source"]) == {"preds": str(paths["preds"])}


def _negative(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[2, ["p_A", "p_C"]] = [-0.1, table.loc[2, "p_A"] + table.loc[2, "p_C"] + 0.1]
    return table


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda table: table.drop(columns="p_F"), "p_F"),
        (lambda table: table.drop(columns=KEY), KEY),
        (lambda table: table.drop(index=[0, 5]), "2 utterances"),
        (lambda table: pd.concat([table, table.iloc[[3]]]), "validation_00003.wav"),
        (lambda table: table.assign(p_A=0.9), "probabilities"),
        (_negative, "validation_00002.wav"),
        (lambda table: table.astype({"p_A": object}).assign(p_A="many"), "probabilities"),
        (lambda table: table.assign(EmoClass="joy"), "joy"),
    ],
)
def test_invalid_files_are_one_line(change, word, rows, theirs, tmp_path) -> None:
    path = save(change(theirs), tmp_path)
    with pytest.raises(UserError) as raised:
        external.read(path, rows)
    assert str(path) in str(raised.value)
    assert word in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_missing_file_is_reported(rows, tmp_path) -> None:
    with pytest.raises(UserError, match="not found"):
        external.read(tmp_path / "theirs.csv", rows)


def test_values_that_are_no_numbers_do_not_count_as_zero(rows, theirs, tmp_path) -> None:
    table = theirs.astype(object)
    table.loc[0, "p_A"] = np.nan
    with pytest.raises(UserError, match=r"validation_00000\.wav"):
        external.read(save(table, tmp_path), rows)
