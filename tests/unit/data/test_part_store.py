"""Rows of one task that a killed job resumes from: what is kept, and what is removed."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from abhinaya.data import part_store
from abhinaya.data.part_store import PartStore
from abhinaya.runtime.errors import UserError

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), ("value", pa.float64())])
TASK = {"model": "one", "options": {"beams": 2}}


def store(folder: Path, task: dict | None = TASK) -> PartStore:
    return PartStore(folder, SCHEMA, "values", task=task)


def test_the_same_task_resumes(tmp_path: Path) -> None:
    store(tmp_path / "deep" / "parts").write([{"name": "b", "value": 1.5}])
    store(tmp_path / "deep" / "parts").write([{"name": "a", "value": None}])
    found = store(tmp_path / "deep" / "parts", dict(reversed(TASK.items()))).read()
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), pd.DataFrame({"name": ["a", "b"], "value": [None, 1.5]})
    )


@pytest.mark.parametrize("task", [{"model": "two"}, {}, TASK | {"options": {"beams": 3}}])
def test_rows_of_another_task_are_removed(tmp_path: Path, task: dict) -> None:
    store(tmp_path).write([{"name": "a"}])
    assert store(tmp_path, task).read().empty
    assert store(tmp_path).read().empty


def test_rows_without_a_record_of_their_task_are_removed(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (tmp_path / part_store.TASK).unlink()  # as where a removal was killed
    assert store(tmp_path).read().empty


def test_a_foreign_file_is_never_removed(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (tmp_path / "thesis.tex").write_text("years of work")
    for given in (TASK, {"model": "two"}, None):
        with pytest.raises(UserError, match=r"no part of the values; move it elsewhere"):
            store(tmp_path, given)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_record_is_foreign_to_a_store_without_a_task(tmp_path: Path) -> None:
    store(tmp_path)
    with pytest.raises(UserError, match=r"task.json: no part of the values"):
        store(tmp_path, None)


def test_a_store_is_removed_with_its_folder(tmp_path: Path) -> None:
    made = store(tmp_path / "parts")
    with made.alone():
        made.write([{"name": "a"}])
    made.write([])
    assert len(list((tmp_path / "parts").glob("part-*"))) == 1
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_many_parts_of_a_task_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_store, "MAX_PARTS", 4)
    for number in range(10):
        store(tmp_path).write([{"name": str(number), "value": number}])
    assert len(list(tmp_path.glob("part-*"))) == 2 + 2
    assert store(tmp_path).read()["value"].tolist() == list(range(10))


def test_a_spoilt_part_is_told(tmp_path: Path) -> None:
    store(tmp_path).write([{"name": "a"}])
    (part,) = tmp_path.glob("part-*")
    part.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{part.name}: spoilt \(.+\); remove it, and its values are made again"):
        store(tmp_path).read()
