"""Snakemake's handler of SIGTERM, mended.

Snakemake takes a lock in it, up to the newest, 9.27.1. A handler runs in the midst of whatever it interrupts, and where
that holds the lock already, as it does for minutes while it waits for the output of a job that has ended, Snakemake
hangs for ever: a cancelled job of SLURM's left it behind.
"""

from functools import wraps
from threading import Thread
from typing import Any

from snakemake import __version__

from abhinaya.runtime.errors import UserError


def mend() -> None:
    """Have the handler wait for its lock in a thread of its own, so that whoever holds it can go on.

    Raises:
        UserError: this Snakemake has its handler elsewhere.
    """
    try:
        from snakemake.scheduling.job_scheduler import JobScheduler

        handle = JobScheduler.exit_gracefully
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"Snakemake {__version__} lacks the handler of SIGTERM that "
            f"abhinaya/runtime/snakemake_sigterm.py mends ({error}); install "
            "the version in envs/requirements.in, or remove `sigterm.mend` from rules/common.smk if upstream is mended"
        ) from None
    if hasattr(handle, "__wrapped__"):  # mended already
        return

    @wraps(handle)
    def beside(*arguments: Any) -> None:
        Thread(target=handle, args=arguments, daemon=True).start()

    JobScheduler.exit_gracefully = beside
