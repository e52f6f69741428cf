"""One job at a time on what a job keeps for its next attempt: a twin, or an orphan of a killed run, is told to wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from abhinaya.runtime.errors import UserError, print_line


@contextmanager
def alone(path: Path, at_work: str) -> Iterator[None]:
    """Hold the lock on the file `path`, which stays behind; the lock itself ends with whoever holds it.

    Args:
        at_work: who holds it if it cannot be had, and what to do.

    Raises:
        UserError: another process holds it, or the file cannot be written.
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
        raise UserError(f"{path.parent}: {at_work}") from None
    except OSError as error:  # some cluster file systems have no locks
        print_line(f"{path.parent}: no lock ({error.strerror}); see that no other job works here")
    try:
        yield
    finally:
        lock.release()  # nothing to do where there are no locks
