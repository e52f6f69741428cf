"""The store of raw responses: no loss, no duplicates, errors for foreign and damaged files."""

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from abhinaya.data import part_store
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.response_store import RESPONSES, ResponseStore


def row(number: int, **changes: object) -> dict:
    fixed = {"request": f"{number:064x}", "answer": f"answer {number}", "requested_at": f"2025-01-01T00:00:{number:09}"}
    return dict.fromkeys(RESPONSES.names) | fixed | changes


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_rows_are_read(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "deep" / "store")
    full = row(1, model="m", user="sentence: é", finish_reason="stop", letters='{"A": -0.1}', prompt_tokens=3)
    store.write([full | {"generated_tokens": 1, "seconds": 0.5}])
    store.write([row(2, answer=None, letters="{}"), row(3)])
    table = ResponseStore(tmp_path / "deep" / "store").read()
    assert list(table.columns) == RESPONSES.names
    assert table["request"].tolist() == [row(number)["request"] for number in (1, 2, 3)]
    assert table["answer"].tolist() == ["answer 1", None, "answer 3"]
    assert table.iloc[0]["user"] == "sentence: é" and table.iloc[0]["prompt_tokens"] == 3


def test_empty_store(tmp_path: Path) -> None:
    table = ResponseStore(tmp_path / "store").read(("request", "answer"))
    assert table.empty and list(table.columns) == ["request", "answer"]


def test_parts_are_merged_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_store, "MAX_PARTS", 4)
    store = ResponseStore(tmp_path)
    for number in range(70):
        store.write([row(number)])
        assert len(parts(tmp_path)) <= 3 * 4  # three levels hold more than 4**3 parts
    assert store.read()["request"].tolist() == [row(number)["request"] for number in range(70)]


def test_killed_merge_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_store, "MAX_PARTS", 4)
    store = ResponseStore(tmp_path)
    for number in range(3):
        store.write([row(number)])

    class Killed(BaseException):
        pass

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("part-0") and not removed:
            removed.append(path)
            return real(path)
        if path.name.startswith("part-0"):
            raise Killed
        return real(path, missing_ok)

    removed: list[Path] = []
    real = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            store.write([row(3)])
    assert len(parts(tmp_path)) == 4  # the merged part, and three of its four sources
    assert ResponseStore(tmp_path).read()["request"].tolist() == [row(number)["request"] for number in range(4)]
    ResponseStore(tmp_path).write([row(4)])
    assert ResponseStore(tmp_path).read()["request"].tolist() == [row(number)["request"] for number in range(5)]


def test_first_response_to_a_request_is_kept(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path)
    store.write([row(1, answer="later", requested_at="2025-01-02")])
    store.write([row(1, answer="first", requested_at="2025-01-01")])
    assert store.read()["answer"].tolist() == ["first"]


def test_temporary_files_are_ignored(tmp_path: Path) -> None:
    ResponseStore(tmp_path).write([row(1)])
    (tmp_path / ".part-0-abc.parquet").write_bytes(b"half")
    assert len(ResponseStore(tmp_path).read()) == 1


@pytest.mark.parametrize("name", ["notes.txt", "part-1.parquet", "responses.parquet"])
def test_foreign_file_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"{re.escape(name)}: .*responses"):
        ResponseStore(tmp_path)


@pytest.mark.parametrize("kind", ["torn", "other"])
def test_damaged_part_is_set_aside(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = ResponseStore(tmp_path)
    store.write([row(1)])
    (part,) = tmp_path.iterdir()
    if kind == "torn":
        part.write_bytes(part.read_bytes()[:-20])
    else:
        pd.DataFrame({"x": [1]}).to_parquet(part)
    assert store.read().empty
    assert f"{part}: damaged" in capsys.readouterr().err
    store.write([row(1)])
    assert len(store.read()) == 1


def test_a_response_without_an_answer_is_as_if_not_stored(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path)
    store.write([row(1, answer=None, requested_at="2024"), row(2)])
    assert store.read(("request",))["request"].tolist() == [row(2)["request"]]
    store.write([row(1, answer="happy")])
    assert sorted(store.read()["answer"]) == ["answer 2", "happy"]


def test_file_instead_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(UserError, match=r"store: .*responses"):
        ResponseStore(tmp_path / "store")


def test_rows_are_written_if_the_block_fails(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.keeping() as keep:
        for number in range(300):
            keep(row(number))
        raise KeyboardInterrupt
    assert len(store.read()) == 300
    assert len(parts(tmp_path)) < 64 + 64  # rows that arrive together form one part


def test_row_is_written_immediately(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path)
    with store.keeping() as keep:
        keep(row(1))
        for _ in range(1000):
            if len(store.read()):
                break
        assert len(store.read()) == 1


def test_failed_write_is_reported(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "store")
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("")
    with pytest.raises(UserError, match="cannot be written"), store.keeping() as keep:
        for number in range(10**6):
            keep(row(number))


def test_only_one_job_adds_responses(tmp_path: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from abhinaya.zero_shot.response_store import ResponseStore\n"
        "with ResponseStore(Path(sys.argv[1])).alone(): print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(part_store.__file__).parents[2])}
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another job is adding") as caught, ResponseStore(tmp_path).alone():
            pass
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
        other.kill()  # the lock ends with its process
    with ResponseStore(tmp_path).alone():
        ResponseStore(tmp_path).write([row(1)])
    assert len(ResponseStore(tmp_path).read()) == 1


def test_store_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with ResponseStore(tmp_path).alone():
        pass
    assert "no lock (Function not implemented)" in capsys.readouterr().err


def test_invalid_row_does_not_affect_others(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path)
    with store.keeping() as keep:
        keep(row(1))
        for wrong in ({"answer": 3}, {"answer": "\ud83d"}, {"prompt_tokens": "many"}):
            with pytest.raises((pa.ArrowException, UnicodeEncodeError)):
                keep(row(2, **wrong))
        keep(row(3))
    assert store.read()["answer"].tolist() == ["answer 1", "answer 3"]


def test_only_requested_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResponseStore(tmp_path)
    store.write([row(1)])
    seen = []
    read = pq.ParquetFile.read
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *given, **named: seen.append(named) or read(*given, **named))
    store.read(("answer",))
    assert seen == [{"columns": ["request", "answer", "letters", "requested_at"]}]
