import errno
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abhinaya.data import schemas
from abhinaya.data.schemas import PREDICTIONS, PROBABILITIES
from abhinaya.labels import CLASSES
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support import flushes


def predictions() -> pd.DataFrame:
    """Two test utterances: angry for certain, and anything."""
    certain = {f"p_{letter}": float(letter == "A") for letter in CLASSES}
    rows = [
        {"FileName": "b.wav", "Split": "test", "EmoClass": "A", **certain},
        {"FileName": "a.wav", "Split": "test", "EmoClass": "N", **dict.fromkeys(PROBABILITIES, 1 / 8)},
    ]
    return pd.DataFrame(rows)


def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "FileName": ["a.wav", "b.wav", "c.wav"],
            "path": ["x/a.wav", "x/b.wav", "x/c.wav"],
            "split": ["train", "test", None],
            "EmoClass": ["A", None, "X"],
            "duration": [1.0, 2.5, 3.0],
            "votes_A": [3, None, 0],
        }
    )


def test_predictions_are_sorted_and_extra_columns_come_last(tmp_path):
    path = tmp_path / "preds.csv"
    schemas.write_predictions(predictions().assign(tie=[True, False])[["tie", *PREDICTIONS]], path)
    table = schemas.read_predictions(path)
    assert list(table.columns) == [*PREDICTIONS, "tie"]
    assert table["FileName"].tolist() == ["a.wav", "b.wav"]
    assert table["tie"].tolist() == [False, True]


def test_writing_predictions_twice_gives_the_same_bytes(tmp_path):
    schemas.write_predictions(predictions(), tmp_path / "one.csv")
    schemas.write_predictions(predictions().iloc[::-1], tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_A": 0.9}, "b.wav"),
        ({"p_A": 1.5, "p_C": -0.5}, "b.wav"),
        ({"p_A": "much"}, "b.wav"),
        ({"p_A": ""}, "b.wav"),
        ({"EmoClass": "X"}, "EmoClass 'X'.*b.wav"),
        ({"EmoClass": ""}, "EmoClass ''.*b.wav"),
        ({"Split": "Test3"}, "Split 'Test3'.*b.wav.*train, validation, test"),
        ({"FileName": "a.wav"}, "FileName.*'a.wav'"),
    ],
)
def test_invalid_row_of_predictions_is_reported(tmp_path, change, message):
    path = tmp_path / "preds.csv"
    table = predictions().astype(object)
    for column, value in change.items():
        table.loc[0, column] = value
    table.to_csv(path, index=False)
    with pytest.raises(UserError, match=message) as caught:
        schemas.read_predictions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", [PREDICTIONS[:-1], ("FileName", "EmoClass"), (*PREDICTIONS[::-1],)])
def test_invalid_header_is_reported(tmp_path, columns):
    path = tmp_path / "preds.csv"
    predictions()[list(columns)].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"preds\.csv.*FileName,Split,EmoClass,p_A"):
        schemas.read_predictions(path)


def test_missing_or_empty_file_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"preds\.csv.*not found"):
        schemas.read_predictions(tmp_path / "preds.csv")
    (tmp_path / "preds.csv").touch()
    with pytest.raises(UserError, match=r"preds\.csv.*CSV"):
        schemas.read_predictions(tmp_path / "preds.csv")


def test_rounded_probabilities_are_accepted(tmp_path):
    schemas.write_predictions(predictions().round(3).assign(p_U=[0.0, 0.1254]), tmp_path / "preds.csv")
    assert len(schemas.read_predictions(tmp_path / "preds.csv")) == 2


def test_manifest_round_trip_has_all_columns(tmp_path):
    path = tmp_path / "manifest.parquet"
    schemas.write_manifest(manifest(), path, {"seed": 1})
    table = schemas.read_manifest(path)
    assert table.columns.tolist() == schemas.MANIFEST.names
    assert table["split"].tolist() == ["train", "test", None]
    assert table["SpkrID"].isna().all()
    assert files.read_metadata(path) == {"seed": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "Development"}, "split 'Development'.*a.wav"),
        ({"EmoClass": "Z"}, "EmoClass 'Z'.*a.wav"),
        ({"FileName": "b.wav"}, "FileName.*'b.wav'"),
        ({"path": None}, "path"),
    ],
)
def test_invalid_row_of_a_manifest_is_reported(tmp_path, change, message):
    path = tmp_path / "manifest.parquet"
    table = manifest()
    for column, value in change.items():
        table.loc[0, column] = value
    table.to_parquet(path)
    with pytest.raises(UserError, match=message) as caught:
        schemas.read_manifest(path)
    assert str(path) in str(caught.value)


def test_missing_column_of_a_manifest_is_reported(tmp_path):
    path = tmp_path / "manifest.parquet"
    manifest().drop(columns=["split", "duration"]).to_parquet(path)
    with pytest.raises(UserError, match=r"manifest\.parquet.*split, duration"):
        schemas.read_manifest(path)


def test_invalid_parquet_file_is_reported(tmp_path):
    path = tmp_path / "manifest.parquet"
    path.write_text("FileName,path\n")
    with pytest.raises(UserError, match=r"manifest\.parquet.*Parquet"):
        schemas.read_manifest(path)


def test_file_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    events = flushes.recorded(monkeypatch)
    files.write_text("new", tmp_path / "scores.json")
    flushes.assert_spared(tmp_path / "scores.json", events)


def test_full_disk_at_flush_is_reported(tmp_path, monkeypatch):
    """Network file systems report a full disk only at the flush."""
    files.write_text("old", tmp_path / "scores.json")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"scores\.json.*No space left on device"):
        files.write_text("new", tmp_path / "scores.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_file_system_without_folder_flush_is_supported(tmp_path, monkeypatch):
    fsync = os.fsync

    def picky(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", picky)
    files.write_text("new", tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == "new"


def test_exception_keeps_the_old_file_and_no_temporary_file(tmp_path):
    target = tmp_path / "table.csv"
    files.write_text("old", target)

    def interrupted() -> None:
        with files.atomic(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_value_that_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        files.write_json({"set": {1}}, tmp_path / "x" / "scores.json")
    assert not list(tmp_path.rglob("*.json"))


def test_nan_becomes_null(tmp_path):
    files.write_json({"f1": [float("nan"), 0.5]}, tmp_path / "scores.json")
    assert files.read_json(tmp_path / "scores.json") == {"f1": [None, 0.5]}


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_without_object_is_reported(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json.*JSON object"):
        files.read_json(tmp_path / "a.json")


def test_targets_are_writable_and_replace_no_input(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    read, new = tmp_path / "file", tmp_path / "new" / "deep" / "a.csv"
    files.check_targets([new, tmp_path / "b.csv"], [read])
    assert not new.parent.exists()
    for targets, message in {
        (read,): "file: .*input",
        (tmp_path / "link",): "link: .*input",
        (new, tmp_path / "new" / "." / "deep" / "a.csv"): "a.csv: .*twice",
        (tmp_path / "folder",): "folder: .*folder",
        (read / "a.csv",): r"a.csv: .*/file .*folder",
    }.items():
        with pytest.raises(UserError, match=message):
            files.check_targets(targets, [read])


def test_invalid_json_is_reported(tmp_path):
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(UserError, match=r"scores\.json.*not JSON"):
        files.read_json(tmp_path / "scores.json")


@pytest.mark.parametrize("place", ["file/preds.csv", "file/deeper/preds.csv", "folder", f"{'x' * 300}/preds.csv"])
def test_target_that_cannot_be_written_is_reported(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as caught:
        files.write_text("new", tmp_path / place)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / place}: ")
    assert "\n" not in message
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("error", [PermissionError(13, "a lock"), FileNotFoundError(2, "an input")])
def test_exception_while_writing_is_raised_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as caught, files.atomic(tmp_path / "preds.csv"):
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off", bytes(1000)])
def test_metadata_of_a_corrupt_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "000.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"000\.parquet.*Parquet"):
        files.read_metadata(tmp_path / "000.parquet")


def test_columns_in_another_order_are_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(8), 32)
    table = pd.DataFrame(values, columns=list(schemas.PROBABILITIES)).assign(Split="test")
    table["FileName"] = [f"{number}.wav" for number in range(32)]
    table["EmoClass"] = [CLASSES[index] for index in values.argmax(1)]
    path = tmp_path / "preds.csv"
    schemas.write_predictions(table, path)
    assert len(schemas.read_predictions(path)) == 32
    schemas.write_predictions(table.round(2).assign(p_A=1 - table.round(2).loc[:, "p_C":"p_U"].sum(1)), path)
    assert len(schemas.read_predictions(path)) == 32  # rounded
    two = {"p_N": "p_S", "p_S": "p_N"}
    for order in (dict(zip(schemas.PROBABILITIES, schemas.PROBABILITIES[::-1], strict=True)), two):
        schemas.write_predictions(table.rename(columns=order), path)
        with pytest.raises(UserError, match=r"preds\.csv: EmoClass .* --labels-may-differ"):
            schemas.read_predictions(path)
        assert len(schemas.read_predictions(path, labels_may_differ=True)) == 32
    schemas.write_predictions(table.assign(EmoClass="A", vote_s1="A"), path)
    assert len(schemas.read_predictions(path)) == 32  # a vote


@pytest.mark.parametrize(("name", "wrong"), [("o.xlsx", True), ("o.Parquet", True), ("o.csv", False), ("o", False)])
def test_a_csv_file_has_no_other_ending(name: str, wrong: bool) -> None:
    if not wrong:
        return files.check_csv_name(Path(name))
    with pytest.raises(UserError, match=rf"{name}: .*o\.csv"):
        files.check_csv_name(Path(name))


def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.bin: disk full"), files.atomic(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
