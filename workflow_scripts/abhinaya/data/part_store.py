"""Rows that a long job stores as they are computed, as a folder of Parquet parts, so that a killed job resumes."""

import itertools
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from abhinaya.runtime import files, locks
from abhinaya.runtime.errors import UserError

MAX_PARTS = 64  # of a level; so many are merged into one part of the next level, so that a row is rewritten rarely
PART = re.compile(r"part-(\d+)-[0-9a-f]{32}\.parquet")
TASK = "task.json"  # the task of the rows, in a store for one task


class PartStore:
    """The rows in `folder`, one for each value of the first column of `schema`, the key.

    Args:
        rows: a plural noun for the rows, used in messages.
        order: of several rows with the same key, the one with the smallest value in this column is used.
        task: everything that determines the rows; existing rows of another task are removed. None: all rows are kept.

    Raises:
        UserError: `folder` cannot be created, or contains other files.
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, rows: str, order: str | None = None, task: dict | None = None
    ) -> None:
        self.folder, self.schema, self.rows, self.order = folder, schema, rows, order
        self.record = None if task is None else folder / TASK
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be created for {rows} ({error.strerror}); give another path") from None
        self._parts()
        if self.record and not (self.record.is_file() and files.read_json(self.record) == task):
            self.remove()
            files.write_json(task, self.record)

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, each key once. A key is stored twice if a merge was interrupted or two jobs computed the same row.

        Raises:
            UserError: a part cannot be read.
        """
        key, columns = self.schema.names[0], self.schema.names if columns is None else columns
        wanted = [name for name in self.schema.names if name in {key, self.order, *columns}]
        parts = [self._read(path, wanted) for path in self._parts()]
        table = pa.concat_tables([self.schema.empty_table().select(wanted), *parts]).to_pandas()
        return table.sort_values(list(filter(None, [self.order, key]))).drop_duplicates(key)[list(columns)]

    def write(self, rows: list[dict]) -> None:
        """Add `rows` (keys: columns of the schema) as one part, and merge parts when there are many."""
        if rows:
            self._add(pa.Table.from_pylist(rows, self.schema))

    def remove(self) -> None:
        """Remove the folder, after a check that it contains no other files."""
        self._parts()
        shutil.rmtree(self.folder)

    def alone(self) -> AbstractContextManager[None]:
        """Lock the store against other jobs, which would repeat the work; they get a `UserError`."""
        return locks.alone(self.folder / ".lock", f"another job is adding {self.rows}; wait until it has ended")

    @contextmanager
    def keeping(self) -> Iterator[Callable[[dict], None]]:
        """Yield a function that stores a row. A thread writes all rows that arrived since its last write as one part.

        The block ends, also after an exception, when all rows are written. The function raises if a row does not match
        the schema or if an earlier write failed.
        """
        arrived: SimpleQueue[pa.Table | None] = SimpleQueue()

        def write() -> None:
            more = True
            while more:
                rows = [arrived.get(), *(arrived.get() for _ in range(arrived.qsize()))]
                more = rows[-1] is not None
                if complete := [row for row in rows if row is not None]:
                    self._add(pa.concat_tables(complete))

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)

            def keep(row: dict) -> None:
                if writing.done():
                    writing.result()  # raises the error that stopped it, such as a full disk
                arrived.put(pa.Table.from_pylist([row], self.schema))

            try:
                yield keep
            finally:
                arrived.put(None)
                writing.result()

    def _add(self, table: pa.Table) -> None:
        self._write(table, level=0)
        for level in itertools.count():
            parts = self._parts(level)
            if len(parts) < MAX_PARTS:
                return
            self._write(pa.concat_tables(self._read(path, self.schema.names) for path in parts), level + 1)
            for path in parts:  # a job killed here leaves duplicate rows, which `read` drops
                path.unlink()

    def _write(self, table: pa.Table, level: int) -> None:
        with files.atomic(self.folder / f"part-{level}-{uuid.uuid4().hex}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def _read(self, path: Path, columns: Sequence[str]) -> pa.Table:
        try:
            with pq.ParquetFile(path) as file:
                return file.read(columns=columns).cast(pa.schema([self.schema.field(name) for name in columns]))
        except (pa.ArrowException, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read ({reason}); remove it, its {self.rows} are made again") from None

    def _parts(self, level: int | None = None) -> list[Path]:
        """The parts of `level`, or all. Names that begin with a dot are the lock and interrupted writes."""
        parts = []
        for path in sorted(self.folder.iterdir()):
            if path.name[0] != "." and path != self.record:
                if not (match := PART.fullmatch(path.name)):
                    raise UserError(f"{path}: not a part of the {self.rows}; move it elsewhere")
                if level in (None, int(match[1])):
                    parts.append(path)
        return parts
