"""User errors are printed as one line; tracebacks are kept for bugs."""

import errno
import io
import os
import sys
from collections.abc import Callable

from abhinaya.runtime.launch_variables import drop_leftovers


class UserError(Exception):
    """One line: what is wrong, where (file, row or key), and how to fix it."""


def first_line(error: Exception) -> str:
    """The first line of the message of `error`; its type if it has no message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def print_line(line: str) -> None:
    """Print a line to standard error; a closed pipe is no error, since a job's log may end before the job."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # Else flushing the buffer at exit would fail again and change the exit status to 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def run(main: Callable[[], None]) -> None:
    """Run a command line's `main`; print a `UserError` as one line and exit with status 1."""
    drop_leftovers()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding other than UTF-8 may lack a character
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {place}disk full, or your quota is used up; free space, then start the same command again")
    except UserError as error:
        # A worker of torch's DataLoader re-raises an error with its traceback in the message.
        sys.exit(f"error: {str(error).rpartition(f'{UserError.__name__}: ')[2].strip()}")
