"""Patch of Snakemake's SIGTERM handler, which can deadlock (still in 9.27.1, the newest version).

The handler acquires a lock. If the interrupted code already holds it, as Snakemake does for minutes while it waits for
the output of a finished job, the process hangs forever and survives the cancellation of its SLURM job.
"""

from functools import wraps
from threading import Thread
from typing import Any

from snakemake import __version__

from abhinaya.runtime.errors import UserError


def patch() -> None:
    """Run the handler in a separate thread, so that the code that holds the lock can continue.

    Raises:
        UserError: this version of Snakemake has no such handler.
    """
    try:
        from snakemake.scheduling.job_scheduler import JobScheduler

        handle = JobScheduler.exit_gracefully
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"Snakemake {__version__}: the SIGTERM handler that abhinaya/runtime/snakemake_sigterm.py patches was not "
            f"found ({error}); install the version in envs/requirements.in, or remove `snakemake_sigterm.patch` from "
            "rules/common.smk if upstream has fixed it"
        ) from None
    if hasattr(handle, "__wrapped__"):  # already patched
        return

    @wraps(handle)
    def in_thread(*arguments: Any) -> None:
        Thread(target=handle, args=arguments, daemon=True).start()

    JobScheduler.exit_gracefully = in_thread
