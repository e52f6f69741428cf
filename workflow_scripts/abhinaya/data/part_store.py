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
from abhinaya.runtime.errors import UserError, first_line, print_line

MAX_PARTS = 64  # of a level; so many are merged into one part of the next level, so that a row is rewritten rarely
PART = re.compile(r"part-(\d+)-[0-9a-f]{32}\.parquet")
TASK = "task.json"  # the task of the rows, in a store for one task


class PartStore:
    """The rows in `folder`, one for each value of the first column of `schema`, the key.

    Args:
        rows: a plural noun for the rows, used in messages.
        filled: a row without a value in any of these columns is not used, as if it were not stored.
        order: of several rows with the same key, the one with the smallest value in this column is used.
        task: everything that determines the rows; existing rows of another task are removed. None: all rows are kept.

    Raises:
        UserError: `folder` cannot be created, or contains other files.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        rows: str,
        order: str | None = None,
        task: dict | None = None,
        filled: Sequence[str] = (),
    ) -> None:
        self.folder, self.schema, self.rows, self.order, self.filled = folder, schema, rows, order, filled
        self.record = None if task is None else folder / TASK
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be created for {rows} ({error.strerror}); give another path") from None
        self._parts()
        if self.record and not (self.record.is_file() and self._task() == task):
            self.remove()
            files.write_json(task, self.record)

    def _task(self) -> dict | None:
        """The stored task; None if its file is damaged."""
        try:
            return files.read_json(self.record)
        except UserError as error:
            print_line(f"{first_line(error)}: its {self.rows} are made again")
            return None

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, each key once. A key is stored twice if a merge was interrupted or two jobs computed the same row.

        A damaged part is set aside, with a message; its rows are missing.
        """
        key, columns = self.schema.names[0], self.schema.names if columns is None else columns
        wanted = [name for name in self.schema.names if name in {key, self.order, *self.filled, *columns}]
        parts = [part for path in self._parts() if (part := self._read(path, wanted))]
        table = pa.concat_tables([self.schema.empty_table().select(wanted), *parts]).to_pandas()
        if self.filled:
            table = table[table[list(self.filled)].notna().any(axis=1)]
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
        return locks.alone(self.folder / ".lock", f"another job is adding {self.rows}")

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
            readable = [part for path in parts if (part := self._read(path, self.schema.names))]
            self._write(pa.concat_tables([self.schema.empty_table(), *readable]), level + 1)
            for path in parts:  # a job killed here leaves duplicate rows, which `read` drops
                path.unlink(missing_ok=True)

    def _write(self, table: pa.Table, level: int) -> None:
        with files.atomic(self.folder / f"part-{level}-{uuid.uuid4().hex}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    def _read(self, path: Path, columns: Sequence[str]) -> pa.Table | None:
        """The rows of a part; None if it is damaged, and then it is set aside."""
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                return file.read(columns=columns).cast(pa.schema([self.schema.field(name) for name in columns]))
        except (pa.ArrowException, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            if getattr(error, "errno", None) is not None:  # the disk or the permissions, not the content
                raise UserError(f"{path}: cannot be read ({reason}); make it readable") from None
            files.set_aside(path, f"damaged ({reason}); its {self.rows} are made again")
            return None

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
