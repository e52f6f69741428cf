"""User errors are printed as one line; tracebacks are kept for bugs."""

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
    try:
        main()
    except UserError as error:
        # A worker of torch's DataLoader re-raises an error with its traceback in the message.
        sys.exit(f"error: {str(error).rpartition(f'{UserError.__name__}: ')[2].strip()}")
