"""The store of raw answers: a folder of Parquet parts that grows as answers come, so that nothing is asked twice.

ResponseStore of other settings stay beside: hosted ones cost money, and are there when the settings come back.
"""

import itertools
import re
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

RESPONSES = pa.schema(
    [
        pa.field("request", pa.string(), nullable=False),  # digest of all that decides the answer
        ("model", pa.string()),  # as the server reports it
        ("software", pa.string()),  # the server: vLLM's version and the model's commit, or an endpoint's address
        ("user", pa.string()),  # the user message
        ("answer", pa.string()),  # raw; null for none
        ("finish_reason", pa.string()),
        ("letters", pa.string()),  # JSON: option letter -> log-probability; null where words are asked
        ("prompt_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("seconds", pa.float64()),  # until the answer came, retries included
        ("requested_at", pa.string()),  # UTC, ISO 8601
    ]
)
MAX_PARTS = 64  # of a level; then they become one part of the next level, so that each row is rewritten rarely
PART = re.compile(r"part-(\d+)-[0-9a-f]{32}\.parquet")


class ResponseStore:
    """The answers in `folder`.

    Raises:
        UserError: `folder` cannot be made, or holds something else than parts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: no folder for answers ({error.strerror}); give another path") from None
        self._parts()

    def read(self, columns: tuple[str, ...] = tuple(RESPONSES.names)) -> pd.DataFrame:
        """All answers, one a request: the first one where a merge was cut short or two jobs asked the same.

        Raises:
            UserError: a part is spoilt.
        """
        wanted = [name for name in RESPONSES.names if name in {"request", "requested_at", *columns}]
        found = [_read(path, wanted) for path in self._parts()]
        table = pa.concat_tables([RESPONSES.empty_table().select(wanted), *found]).to_pandas()
        return table.sort_values(["requested_at", "request"]).drop_duplicates("request")[list(columns)]

    def write(self, rows: list[dict]) -> None:
        """Add `rows` (keys: columns of `RESPONSES`) as one part, and merge parts when there are many."""
        self._add(pa.Table.from_pylist(rows, RESPONSES))

    def alone(self) -> AbstractContextManager[None]:
        """Keep other jobs out: they would ask the same again, and merge parts that are being read.

        Raises:
            UserError: another job is at it.
        """
        return locks.alone(self.folder / ".lock", "another job is adding answers; wait until it has ended")

    @contextmanager
    def keeping(self) -> Iterator[Callable[[dict], None]]:
        """Yield a function that keeps a row: a thread writes at once whatever has arrived meanwhile, as one part.

        Leaving the block, in whatever way, waits until all is written. A row that is none is told to who keeps it.
        """
        arrived: SimpleQueue[pa.Table | None] = SimpleQueue()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(self._write_arriving, arrived)

            def keep(row: dict) -> None:
                if writing.done():
                    writing.result()  # raises what stopped it, a full disk for one
                arrived.put(pa.Table.from_pylist([row], RESPONSES))

            try:
                yield keep
            finally:
                arrived.put(None)
                writing.result()

    def _write_arriving(self, arrived: "SimpleQueue[pa.Table | None]") -> None:
        more = True
        while more:
            rows = [arrived.get()]
            while not arrived.empty():
                rows.append(arrived.get())
            more = rows[-1] is not None
            if kept := [row for row in rows if row is not None]:
                self._add(pa.concat_tables(kept))

    def _add(self, table: pa.Table) -> None:
        self._write(table, level=0)
        for level in itertools.count():
            parts = self._parts(level)
            if len(parts) < MAX_PARTS:
                return
            self._write(pa.concat_tables(map(_read, parts)), level + 1)
            for path in parts:  # a kill here leaves rows twice, never none
                path.unlink()

    def _write(self, table: pa.Table, level: int) -> None:
        with files.atomic(self.folder / f"part-{level}-{uuid.uuid4().hex}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def _parts(self, level: int | None = None) -> list[Path]:
        """The parts of `level`, or all; names that begin with a dot are writes that were cut short."""
        names = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        matches = [(name, PART.fullmatch(name)) for name in names]
        foreign = [name for name, match in matches if not match]
        if foreign:
            raise UserError(f"{self.folder / foreign[0]}: no part of the answers; move it elsewhere")
        return [self.folder / name for name, match in matches if level is None or int(match[1]) == level]


def _read(path: Path, columns: Sequence[str] = RESPONSES.names) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=columns).cast(pa.schema([RESPONSES.field(name) for name in columns]))
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: spoilt ({reason}); remove it, and its answers are asked again") from None
