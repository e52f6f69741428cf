"""Reading and writing files: JSON, CSV, Parquet.

Every write is atomic: a temporary file beside the target, flushed to the disk, then a rename.
"""

import csv
import errno
import json
import os
import reprlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from abhinaya.runtime.errors import UserError, print_line

FULL = (errno.ENOSPC, errno.EDQUOT)
OTHER_TABLES = (".xlsx", ".xls", ".ods", ".parquet", ".json", ".jsonl", ".tsv", ".html", ".feather", ".gz", ".zip")
MAX_FLUSHES = 8  # concurrent


@contextmanager
def atomic(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` if the block succeeds, else remove it.

    Raises:
        UserError: `target` cannot be written or the disk is full; other exceptions of the block pass unchanged.
    """
    target = Path(target)
    with _writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with _disk_full(target):
            yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp creates private files; apply the umask instead
        with _writable(target):
            put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(source: Path, target: Path) -> None:
    """Flush the complete file or folder `source` and rename it to `target`, both on the same file system.

    After a power cut, `target` is either complete or unchanged. A rename alone may reach the disk before the content.

    Raises:
        OSError: `flush` failed, or `target` cannot be replaced.
    """
    flush(source)
    os.replace(source, target)
    _flush(target.parent)


def flush(path: Path) -> None:
    """Wait until a file, or a folder with its whole content, is on the disk.

    Raises:
        OSError: the disk is full or failed; network file systems report this only here.
    """
    paths = [path, *path.rglob("*")]
    with ThreadPoolExecutor(MAX_FLUSHES) as pool:  # concurrent flushes take about as long as one
        list(pool.map(_flush, paths))


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file or folder, so that it is not used again but can be examined, and print a line.

    Its new name begins with a dot.
    """
    place = path.with_name(f".damaged-{path.name}")
    if place.is_dir():
        shutil.rmtree(place)
    os.replace(path, place)
    print_line(f"{path}: {reason}; kept as {place.name}")


def check_targets(targets: Iterable[Path], read: Iterable[Path] = ()) -> None:
    """Check, before a long computation, that its output files can be written and replace none of its inputs.

    Raises:
        UserError: a target is one of `read`, a duplicate or a folder, or its folder is not writable.
    """
    taken = {os.path.realpath(path): "is also an input" for path in read}
    for target in targets:
        place = os.path.realpath(target)
        if place in taken:
            raise UserError(f"{target}: {taken[place]}; write to another file")
        taken[place] = "is given twice"
        if os.path.isdir(place):
            raise UserError(f"{target}: is a folder; give a file name")
        parent = next(folder for folder in target.absolute().parents if os.path.exists(folder))
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{target}: cannot be written ({parent} is not a writable folder); write to another file")


def check_csv_name(target: Path) -> None:
    """Raise a `UserError` if the name of a CSV file to write has the ending of another format."""
    if target.suffix.lower() in OTHER_TABLES:
        raise UserError(f"{target}: a CSV file is written; name it {target.with_suffix('.csv').name}")


def write_text(text: str, target: str | Path) -> None:
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value: object, target: str | Path) -> None:
    """Write indented JSON; NaN becomes null."""
    write_text(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", target)


def read_json(path: str | Path) -> dict:
    """Read a JSON object.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); recreate it") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object, but {reprlib.repr(value)}; recreate it")
    return value


def write_csv(table: pd.DataFrame, target: str | Path) -> None:
    texts = table.select_dtypes(exclude=["number", "bool"])
    has_carriage_return = any(texts[name].astype(str).str.contains("\r", regex=False).any() for name in texts)
    # Python 3.11 leaves a carriage return unquoted, and a reader ends the row there.
    quoting = csv.QUOTE_NONNUMERIC if has_carriage_return else csv.QUOTE_MINIMAL
    with atomic(target) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)


def write_parquet(table: pd.DataFrame, schema: pa.Schema, target: str | Path, metadata: dict | None = None) -> None:
    """Write `table` with exactly the columns of `schema`; `metadata` is stored as JSON under the key ``abhinaya``."""
    table = table.reindex(columns=schema.names)
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    if metadata is not None:
        arrow = arrow.replace_schema_metadata({"abhinaya": json.dumps(_plain(metadata))})
    with atomic(target) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_metadata(path: str | Path) -> dict:
    """The metadata that `write_parquet` stored; empty for files written by other software.

    Raises:
        UserError: the file is missing or is not Parquet.
    """
    with parquet_errors(existing(path)):
        stored = (pq.read_schema(path).metadata or {}).get(b"abhinaya")
    return json.loads(stored) if stored else {}


@contextmanager
def parquet_errors(path: str | Path) -> Iterator[None]:
    """Convert Parquet and I/O errors of the block to a `UserError` that names `path`."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); recreate it") from None


def _flush(path: Path) -> None:
    with suppress(OSError) if path.is_dir() else nullcontext():  # some file systems cannot flush a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def disk_full(target: Path) -> UserError:
    """The error for a file that did not fit on its disk."""
    return UserError(
        f"{target}: disk full (No space left on device), or your quota is used up; free space or use "
        "another --directory, then start the same command again, which goes on"
    )


@contextmanager
def _disk_full(target: Path) -> Iterator[None]:
    """Convert the error of a full disk in the block to a `UserError` that names `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(target) from None
        raise


@contextmanager
def _writable(target: Path) -> Iterator[None]:
    """Convert an `OSError` of the block to a `UserError` that names `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(target) from None
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); write to another path, or make its folder writable"
        ) from None


def existing(path: str | Path) -> Path:
    """`path`, which must be an existing file.

    Raises:
        UserError: it is not.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: file not found; create it or correct the path")
    return path


def _plain(value: object) -> object:
    """`value` with numpy types and NaN converted to JSON types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
