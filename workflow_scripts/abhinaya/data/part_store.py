"""Rows that a long job keeps as they come: a folder of Parquet parts that grows, so that a killed job resumes."""

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

MAX_PARTS = 64  # of a level; then they become one part of the next level, so that each row is rewritten rarely
PART = re.compile(r"part-(\d+)-[0-9a-f]{32}\.parquet")
TASK = "task.json"  # what the rows belong to, where they serve one task alone


class PartStore:
    """The rows in `folder`, one for each value of the first column of `schema`.

    Args:
        rows: what they are, in a word of the plural, for messages.
        order: a column by which the first of equal rows stays.
        task: what the rows belong to; those of another task are removed. None: whatever is there stays.

    Raises:
        UserError: `folder` cannot be made, or holds something else than parts.
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, rows: str, order: str | None = None, task: dict | None = None
    ) -> None:
        self.folder, self.schema, self.rows, self.order = folder, schema, rows, order
        self.record = None if task is None else folder / TASK
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: no folder for {rows} ({error.strerror}); give another path") from None
        self._parts()
        if self.record and not (self.record.is_file() and files.read_json(self.record) == task):
            self.remove()
            files.write_json(task, self.record)

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, each key once: the first one where a merge was cut short or two jobs did the same.

        Raises:
            UserError: a part is spoilt.
        """
        key, columns = self.schema.names[0], self.schema.names if columns is None else columns
        wanted = [name for name in self.schema.names if name in {key, self.order, *columns}]
        found = [self._read(path, wanted) for path in self._parts()]
        table = pa.concat_tables([self.schema.empty_table().select(wanted), *found]).to_pandas()
        return table.sort_values(list(filter(None, [self.order, key]))).drop_duplicates(key)[list(columns)]

    def write(self, rows: list[dict]) -> None:
        """Add `rows` (keys: columns of the schema) as one part, and merge parts when there are many."""
        if rows:
            self._add(pa.Table.from_pylist(rows, self.schema))

    def remove(self) -> None:
        """Remove the folder, which must hold nothing else."""
        self._parts()
        shutil.rmtree(self.folder)

    def alone(self) -> AbstractContextManager[None]:
        """Keep other jobs out, with a `UserError`: they would do the same again, and merge parts that are read."""
        return locks.alone(self.folder / ".lock", f"another job is adding {self.rows}; wait until it has ended")

    @contextmanager
    def keeping(self) -> Iterator[Callable[[dict], None]]:
        """Yield a function that keeps a row: a thread writes at once whatever has arrived meanwhile, as one part.

        Leaving the block, in whatever way, waits until all is written. A row that is none is told to who keeps it.
        """
        arrived: SimpleQueue[pa.Table | None] = SimpleQueue()

        def write() -> None:
            more = True
            while more:
                rows = [arrived.get(), *(arrived.get() for _ in range(arrived.qsize()))]
                more = rows[-1] is not None
                if kept := [row for row in rows if row is not None]:
                    self._add(pa.concat_tables(kept))

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)

            def keep(row: dict) -> None:
                if writing.done():
                    writing.result()  # raises what stopped it, a full disk for one
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
            for path in parts:  # a kill here leaves rows twice, never none
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
            raise UserError(f"{path}: spoilt ({reason}); remove it, and its {self.rows} are made again") from None

    def _parts(self, level: int | None = None) -> list[Path]:
        """The parts of `level`, or all; names that begin with a dot are writes that were cut short."""
        found = [path for path in sorted(self.folder.iterdir()) if path.name[0] != "." and path != self.record]
        matches = {path: PART.fullmatch(path.name) for path in found}
        for path, match in matches.items():
            if not match:
                raise UserError(f"{path}: no part of the {self.rows}; move it elsewhere")
        return [path for path, match in matches.items() if level is None or int(match[1]) == level]
