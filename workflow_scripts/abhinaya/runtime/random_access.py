"""Reading places of a large file, from several threads and processes."""

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np


class RandomAccessFile:
    """A binary file that stays open. Each process opens it at its first read, so that it can be pickled.

    A read has its own place, so threads and forked processes do not disturb each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self, start: int, values: np.ndarray) -> bool:
        """Fill `values`, a contiguous array, from byte `start`. Returns whether the file has so many bytes.

        Raises:
            OSError: the file does not exist or cannot be read.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        left = memoryview(values).cast("B")
        while left and (count := os.preadv(self._descriptor, [left], start)):  # above 2 GB, several calls
            left, start = left[count:], start + count
        return not left

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_descriptor": None}
