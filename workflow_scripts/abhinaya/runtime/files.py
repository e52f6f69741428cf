"""Reading and writing files: JSON, CSV, Parquet.

Every write is atomic: a temporary file beside the target, flushed to the disk, then a rename.
"""

import csv
import json
import os
import reprlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from abhinaya.runtime.errors import UserError

FLUSHES = 8  # at once


@contextmanager
def atomic(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` when the block ends well, else remove it.

    Raises:
        UserError: `target` cannot be made or replaced; what the block itself raises passes unchanged.
    """
    target = Path(target)
    with _writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; results are for the group to read
        with _writable(target):
            put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(made: Path, target: Path) -> None:
    """Rename `made`, a finished file or folder beside `target`, to it: a power cut leaves all of it or nothing.

    A rename alone may reach the disk before the content does.

    Raises:
        OSError: as `flush`; `target` cannot be replaced.
    """
    flush(made)
    os.replace(made, target)
    _flush(target.parent)


def flush(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk.

    Raises:
        OSError: the disk is full or fails, which network file systems tell only now.
    """
    paths = [path, *path.rglob("*")]
    with ThreadPoolExecutor(FLUSHES) as pool:  # many at once take about as long as one
        list(pool.map(_flush, paths))


def check_targets(targets: Iterable[Path], read: Iterable[Path] = ()) -> None:
    """Tell before long work that a file cannot be written in the end, or would replace one that is read.

    Raises:
        UserError: a target is one of `read`, or another target, or a folder; its folder cannot be written in.
    """
    taken = {os.path.realpath(path): "is read, and would be replaced" for path in read}
    for target in targets:
        place = os.path.realpath(target)
        if place in taken:
            raise UserError(f"{target}: {taken[place]}; write to another file")
        taken[place] = "is written already"
        if os.path.isdir(place):
            raise UserError(f"{target}: a folder; name a file to write")
        parent = next(folder for folder in target.absolute().parents if os.path.exists(folder))
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{target}: cannot be written ({parent} is no folder to write in); write to another file")


def write_text(text: str, target: str | Path) -> None:
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value: object, target: str | Path) -> None:
    """Write indented JSON; NaN becomes null, which is what JSON has for it."""
    write_text(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", target)


def read_json(path: str | Path) -> dict:
    """Read a JSON object.

    Raises:
        UserError: absent, or no JSON object.
    """
    try:
        found = json.loads(existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); make it again") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object, but {reprlib.repr(found)}; make it again")
    return found


def write_csv(table: pd.DataFrame, target: str | Path) -> None:
    texts = table.select_dtypes(exclude=["number", "bool"])
    returns = any(texts[name].astype(str).str.contains("\r", regex=False).any() for name in texts)
    # Python 3.11 leaves a carriage return unquoted, and a reader ends the row there.
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    with atomic(target) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)


def write_parquet(table: pd.DataFrame, schema: pa.Schema, target: str | Path, metadata: dict | None = None) -> None:
    """Write `table` with exactly the columns of `schema`; `metadata` travels as JSON under the key ``abhinaya``."""
    table = table.reindex(columns=schema.names)
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    if metadata is not None:
        arrow = arrow.replace_schema_metadata({"abhinaya": json.dumps(_plain(metadata))})
    with atomic(target) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def read_metadata(path: str | Path) -> dict:
    """The metadata that `write_parquet` stored; empty for a file from elsewhere.

    Raises:
        UserError: absent, or not Parquet.
    """
    with parquet_errors(existing(path)):
        stored = (pq.read_schema(path).metadata or {}).get(b"abhinaya")
    return json.loads(stored) if stored else {}


@contextmanager
def parquet_errors(path: str | Path) -> Iterator[None]:
    """Raise a `UserError` that names `path` when the block cannot read it as Parquet."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); make it again") from None


def _flush(path: Path) -> None:
    with suppress(OSError) if path.is_dir() else nullcontext():  # some file systems cannot flush a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _writable(target: Path) -> Iterator[None]:
    """Raise a `UserError` with the reason why the file system refuses `target`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); give another path, or make its folder one to write in"
        ) from None


def existing(path: str | Path) -> Path:
    """`path`, which must be a file.

    Raises:
        UserError: it is none.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it first or correct the path")
    return path


def _plain(value: object) -> object:
    """Numpy scalars and NaN as JSON's own types."""
    convert: dict[type, Callable] = {np.ndarray: np.ndarray.tolist}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if type(value) in convert:
        return _plain(convert[type(value)](value))
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
