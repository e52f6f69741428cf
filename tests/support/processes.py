"""Waiting for a condition, and for the end of a process."""

import time
from collections.abc import Callable

import psutil


def wait(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `condition()` is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
