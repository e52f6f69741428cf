"""The stored rows of one task, from which a killed job resumes: which are kept, and which are removed."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from abhinaya.data import part_store
from abhinaya.data.part_store import PartStore
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), ("value", pa.float64())])
TASK = {"model": "one", "options": {"beams": 2}}


def store(folder: Path, task: dict | None = TASK) -> PartStore:
    return PartStore(folder, SCHEMA, "values", task=task)


def test_the_same_task_resumes(tmp_path: Path) -> None:
    store(tmp_path / "deep" / "parts").write([{"name": "b", "value": 1.5}])
    store(tmp_path / "deep" / "parts").write([{"name": "a", "value": None}])
    rows = store(tmp_path / "deep" / "parts", dict(reversed(TASK.items()))).read()
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), pd.DataFrame({"name": ["a", "b"], "value": [None, 1.5]}))


@pytest.mark.parametrize("task", [{"model": "two"}, {}, TASK | {"options": {"beams": 3}}])
def test_rows_of_another_task_are_removed(tmp_path: Path, task: dict) -> None:
    store(tmp_path).write([{"name": "a"}])
    assert store(tmp_path, task).read().empty
    assert store(tmp_path).read().empty


def test_rows_without_a_task_file_are_removed(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (tmp_path / part_store.TASK).unlink()  # as after a job that was killed while it removed rows
    assert store(tmp_path).read().empty


def test_another_file_is_reported_and_kept(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (tmp_path / "thesis.tex").write_text("text")
    for task, name in ((TASK, "thesis.tex"), ({"model": "two"}, "thesis.tex"), (None, "task.json")):
        with pytest.raises(UserError) as caught:
            store(tmp_path, task)
        assert_names(str(caught.value), f"{tmp_path}/{name}: ", "values")
    assert (tmp_path / "thesis.tex").read_text() == "text"


def test_a_store_without_a_task_reports_a_task_file(tmp_path: Path) -> None:
    store(tmp_path)
    with pytest.raises(UserError, match=r"task\.json: "):
        store(tmp_path, None)


def test_a_store_is_removed_with_its_folder(tmp_path: Path) -> None:
    parts = store(tmp_path / "parts")
    with parts.alone():
        parts.write([{"name": "a"}])
    parts.write([])
    assert len(list((tmp_path / "parts").glob("part-*"))) == 1
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_many_parts_of_a_task_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_store, "MAX_PARTS", 4)
    for number in range(10):
        store(tmp_path).write([{"name": str(number), "value": number}])
    assert len(list(tmp_path.glob("part-*"))) == 2 + 2
    assert store(tmp_path).read()["value"].tolist() == list(range(10))


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_part_is_set_aside(keep: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path).write([{"name": "b"}])
    (whole,) = tmp_path.glob("part-*")
    store(tmp_path).write([{"name": "a"}])
    (part,) = set(tmp_path.glob("part-*")) - {whole}
    part.write_bytes(part.read_bytes()[:keep])
    assert store(tmp_path).read()["name"].tolist() == ["b"]
    assert_names(capsys.readouterr().err.strip(), f"{part}: ", "values")
    assert list(tmp_path.glob("part-*")) == [whole]
    assert (tmp_path / f".damaged-{part.name}").is_file()
    assert store(tmp_path).read()["name"].tolist() == ["b"]


def test_damaged_parts_do_not_stop_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_store, "MAX_PARTS", 4)
    for number in range(3):
        store(tmp_path).write([{"name": str(number)}])
    min(tmp_path.glob("part-*")).write_bytes(b"PAR1")
    store(tmp_path).write([{"name": "3"}])
    assert len(store(tmp_path).read()) == 3


@pytest.mark.parametrize("content", ["", '{"model": "on'])
def test_a_damaged_task_file_removes_the_rows(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path).write([{"name": "a"}])
    (tmp_path / part_store.TASK).write_text(content)
    assert store(tmp_path).read().empty
    assert part_store.TASK in capsys.readouterr().err
    store(tmp_path).write([{"name": "a"}])
    assert len(store(tmp_path).read()) == 1


def test_a_row_stored_twice_is_read_once(tmp_path: Path) -> None:
    for _ in range(2):
        store(tmp_path).write([{"name": "a", "value": 1.0}])
    assert len(store(tmp_path).read()) == 1


def test_a_row_without_a_filled_column_is_not_used(tmp_path: Path) -> None:
    filled = PartStore(tmp_path, SCHEMA, "values", task=TASK, filled=("value",))
    filled.write([{"name": "a", "value": None}, {"name": "b", "value": 1.0}])
    assert filled.read(("name",))["name"].tolist() == ["b"]
