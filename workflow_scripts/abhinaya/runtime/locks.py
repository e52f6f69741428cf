"""One job at a time on what a job keeps for its next attempt: a twin, or an orphan of a killed run, is told to wait."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        file = path.open("w")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path.parent}: {at_work}") from None
        except OSError as error:  # some cluster file systems have no locks
            print_line(f"{path.parent}: no lock ({error.strerror}); see that no other job works here")
        yield
