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


def test_an_unreadable_part_is_reported(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (part,) = tmp_path.glob("part-*")
    part.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        store(tmp_path).read()
    assert_names(str(caught.value), f"{part}: ", "values")
