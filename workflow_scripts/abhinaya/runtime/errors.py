"""A user's mistake is told in one line; a traceback is kept for our own."""

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong (file, row or key) and how to mend it, in one line."""


def tell(line: str) -> None:
    """Print a line to standard error, also when nobody reads it: what ends a job may end its log first."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # What is still buffered would fail again when Python ends, and replace the exit status by 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def run(main: Callable[[], None]) -> None:
    """Run a command line's `main`; print a `UserError` as one line and leave with status 1."""
    try:
        main()
    except UserError as error:
        # A worker process of torch's loader passes an error on as text, after its traceback.
        sys.exit(f"error: {str(error).rpartition(f'{UserError.__name__}: ')[2].strip()}")
