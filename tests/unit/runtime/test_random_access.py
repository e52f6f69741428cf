"""Reading places of a file: the bytes that are there, from several threads and processes."""

import gc
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from abhinaya.runtime.random_access import RandomAccessFile

NUMBERS = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
PLACES = np.random.default_rng(1).integers(0, len(NUMBERS) - 5_000, 200).tolist()


@pytest.fixture
def file(tmp_path: Path) -> RandomAccessFile:
    (tmp_path / "numbers.bin").write_bytes(NUMBERS.tobytes())
    return RandomAccessFile(tmp_path / "numbers.bin")


def read(file: RandomAccessFile, place: int) -> np.ndarray:
    values = np.empty(5_000, np.float32)
    assert file.read(place * values.itemsize, values)
    return values


def expected() -> list[np.ndarray]:
    return [NUMBERS[place : place + 5_000] for place in PLACES]


def test_threads_read_what_is_at_each_place(file: RandomAccessFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(partial(read, file), PLACES)), expected())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_what_is_at_each_place(method: str, file: RandomAccessFile) -> None:
    """The file is open before they start, as in a data loader's workers."""
    read(file, 0)
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        np.testing.assert_array_equal(list(pool.map(partial(read, file), PLACES, chunksize=10)), expected())
    np.testing.assert_array_equal(read(file, 7), NUMBERS[7:5_007])


@pytest.mark.parametrize(("start", "count", "complete"), [(0, 10, True), (399_960, 10, True), (399_964, 10, False)])
def test_the_end_of_the_file_is_noticed(start: int, count: int, complete: bool, file: RandomAccessFile) -> None:
    assert file.read(start, np.empty(count, np.float32)) is complete
    assert file.read(500_000, np.empty(0, np.float32))
    assert not file.read(500_000, np.empty(1, np.float32))


def test_a_short_read_is_continued(file: RandomAccessFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux transfers at most 2 GB in a call."""
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, start: preadv(descriptor, [buffers[0][:999]], start))
    np.testing.assert_array_equal(read(file, 5), NUMBERS[5:5_005])


def test_a_file_is_opened_once_and_closed_with_its_object(file: RandomAccessFile) -> None:
    def opened() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{number}") == str(path) for number in os.listdir("/proc/self/fd"))

    path = file.path.resolve()
    for place in PLACES[:3]:
        read(file, place)
    assert opened() == 1
    copy = pickle.loads(pickle.dumps(file))
    assert opened() == 1
    read(copy, 0)
    assert opened() == 2
    del copy
    gc.collect()
    assert opened() == 1


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RandomAccessFile(tmp_path / "absent.bin").read(0, np.empty(1))
