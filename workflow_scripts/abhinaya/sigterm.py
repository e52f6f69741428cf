"""Snakemake's handler of SIGTERM, mended.

Snakemake 9.27 takes a lock in it. A handler runs in the midst of whatever it interrupts, and where that holds the lock
already, as it does for minutes while it waits for the output of a job that has ended, Snakemake hangs for ever: a
cancelled job of SLURM's left it behind.
"""

from threading import Thread
from typing import Any

from snakemake.scheduling.job_scheduler import JobScheduler

_handle = JobScheduler.exit_gracefully


def mend() -> None:
    """Have the handler wait for its lock in a thread of its own, so that whoever holds it can go on."""
    JobScheduler.exit_gracefully = _beside


def _beside(scheduler: JobScheduler, *_: Any) -> None:
    Thread(target=_handle, args=(scheduler,), daemon=True).start()
