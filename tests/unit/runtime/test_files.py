import errno
import os
import stat
from pathlib import Path

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


def test_predictions_come_back_sorted_with_further_columns_last(tmp_path):
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
        ({"p_A": 0.9}, "the probabilities of b.wav are not eight numbers"),
        ({"p_A": 1.5, "p_C": -0.5}, "the probabilities of b.wav"),
        ({"p_A": "much"}, "the probabilities of b.wav"),
        ({"p_A": ""}, "the probabilities of b.wav"),
        ({"EmoClass": "X"}, "EmoClass 'X' of b.wav is none of A, C"),
        ({"EmoClass": ""}, "EmoClass '' of b.wav"),
        ({"Split": "Test3"}, "Split 'Test3' of b.wav is none of train, validation, test"),
        ({"FileName": "a.wav"}, "FileName 'a.wav' stands twice"),
    ],
)
def test_a_wrong_row_of_predictions_is_named(tmp_path, change, message):
    path = tmp_path / "preds.csv"
    table = predictions().astype(object)
    for column, value in change.items():
        table.loc[0, column] = value
    table.to_csv(path, index=False)
    with pytest.raises(UserError, match=message) as caught:
        schemas.read_predictions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", [PREDICTIONS[:-1], ("FileName", "EmoClass"), (*PREDICTIONS[::-1],)])
def test_a_wrong_header_is_named(tmp_path, columns):
    path = tmp_path / "preds.csv"
    predictions()[list(columns)].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"the header is .* it must begin FileName,Split,EmoClass,p_A"):
        schemas.read_predictions(path)


def test_an_absent_or_empty_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"preds.csv: no such file"):
        schemas.read_predictions(tmp_path / "preds.csv")
    (tmp_path / "preds.csv").touch()
    with pytest.raises(UserError, match=r"preds.csv: not a readable CSV"):
        schemas.read_predictions(tmp_path / "preds.csv")


def test_rounded_probabilities_are_accepted(tmp_path):
    schemas.write_predictions(predictions().round(3).assign(p_U=[0.0, 0.1254]), tmp_path / "preds.csv")
    assert len(schemas.read_predictions(tmp_path / "preds.csv")) == 2


def test_a_manifest_comes_back_with_all_columns(tmp_path):
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
        ({"split": "Development"}, "split 'Development' of a.wav is none of train"),
        ({"EmoClass": "Z"}, "EmoClass 'Z' of a.wav is none of A, C"),
        ({"FileName": "b.wav"}, "FileName 'b.wav' stands twice"),
        ({"path": None}, "wrong type or nulls"),
    ],
)
def test_a_wrong_row_of_a_manifest_is_named(tmp_path, change, message):
    path = tmp_path / "manifest.parquet"
    table = manifest()
    for column, value in change.items():
        table.loc[0, column] = value
    table.to_parquet(path)
    with pytest.raises(UserError, match=message) as caught:
        schemas.read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_manifest_without_a_needed_column_is_named(tmp_path):
    path = tmp_path / "manifest.parquet"
    manifest().drop(columns=["split", "duration"]).to_parquet(path)
    with pytest.raises(UserError, match="no column split, duration; it needs"):
        schemas.read_manifest(path)


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    path = tmp_path / "manifest.parquet"
    path.write_text("FileName,path\n")
    with pytest.raises(UserError, match=r"manifest.parquet: not a readable Parquet file"):
        schemas.read_manifest(path)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = flushes.recorded(monkeypatch)
    files.write_text("new", tmp_path / "scores.json")
    flushes.assert_spared(tmp_path / "scores.json", events)


def test_a_disk_that_is_full_in_the_end_is_told(tmp_path, monkeypatch):
    """Network file systems take more than they can hold, and tell it when asked to write it down."""
    files.write_text("old", tmp_path / "scores.json")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"scores\.json: cannot be written \(No space left on device\); "):
        files.write_text("new", tmp_path / "scores.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_file_system_that_cannot_flush_folders_will_do(tmp_path, monkeypatch):
    fsync = os.fsync

    def picky(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", picky)
    files.write_text("new", tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == "new"


def test_an_exception_leaves_the_old_file_and_nothing_beside_it(tmp_path):
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


def test_a_value_that_json_lacks_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        files.write_json({"set": {1}}, tmp_path / "x" / "scores.json")
    assert not list(tmp_path.rglob("*.json"))


def test_nan_becomes_null(tmp_path):
    files.write_json({"f1": [float("nan"), 0.5]}, tmp_path / "scores.json")
    assert files.read_json(tmp_path / "scores.json") == {"f1": [None, 0.5]}


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_that_is_no_object_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a.json: not a JSON object, but "):
        files.read_json(tmp_path / "a.json")


def test_targets_replace_nothing_and_can_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    read, new = tmp_path / "file", tmp_path / "new" / "deep" / "a.csv"
    files.check_targets([new, tmp_path / "b.csv"], [read])
    assert not new.parent.exists()
    for targets, message in {
        (read,): "file: is read, and would be replaced; write to another file",
        (tmp_path / "link",): "link: is read, and would be replaced",
        (new, tmp_path / "new" / "." / "deep" / "a.csv"): "a.csv: is written already",
        (tmp_path / "folder",): "folder: a folder; name a file to write",
        (read / "a.csv",): r"a.csv: cannot be written \(.*/file is no folder to write in\)",
    }.items():
        with pytest.raises(UserError, match=message):
            files.check_targets(targets, [read])


def test_text_that_is_no_json_is_named(tmp_path):
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(UserError, match=r"scores.json: not JSON"):
        files.read_json(tmp_path / "scores.json")


@pytest.mark.parametrize("place", ["file/preds.csv", "file/deeper/preds.csv", "folder", f"{'x' * 300}/preds.csv"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as caught:
        files.write_text("new", tmp_path / place)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / place}: cannot be written (") and "; " in message
    assert "\n" not in message
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("error", [PermissionError(13, "a lock"), FileNotFoundError(2, "an input")])
def test_what_goes_wrong_while_writing_keeps_its_own_name(tmp_path, error):
    with pytest.raises(type(error)) as caught, files.atomic(tmp_path / "preds.csv"):
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off", bytes(1000)])
def test_metadata_of_a_spoilt_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "000.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"000.parquet: not a readable Parquet file \(.*\); make it again"):
        files.read_metadata(tmp_path / "000.parquet")
