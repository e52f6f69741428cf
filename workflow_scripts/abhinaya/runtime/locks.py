"""A lock on a job's stored parts: a second job, such as an orphan of a killed run, ends with an error."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from abhinaya.runtime.errors import UserError, print_line


@contextmanager
def alone(path: Path, message: str) -> Iterator[None]:
    """Hold the lock on the file `path`; the file remains, the lock ends with the process.

    The file names the process, for the message to a second one.

    Args:
        message: of the error if another process holds the lock: what it does.

    Raises:
        UserError: another process holds the lock, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from None
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a killed job
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"{path.parent}: {message}{_holder(path)}") from None
    except OSError as error:  # some cluster file systems have no locks
        print_line(f"{path.parent}: no lock ({error.strerror}); make sure that no other job uses this folder")
    else:
        with suppress(OSError):  # such as a full disk; the lock does not need it
            path.write_text(f"{os.getpid()} {socket.gethostname()}")
    try:
        yield
    finally:
        lock.release()  # no effect without a lock


def _holder(path: Path) -> str:
    """How to find and end the process that holds the lock; empty if the file does not name it."""
    with suppress(OSError, ValueError):
        number, host = path.read_text().split()
        return f" (process {number} on {host}); wait until it ends, or end it with `kill {number}`"
    return "; wait until it ends, or end it"
