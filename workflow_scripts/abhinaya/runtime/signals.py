"""Signals that request a long job to stop: from SLURM before a time-out, preemption or node drain, or from a user.

Imports only the standard library, so that a script can use it before any other import.
"""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
DUPLICATE_SECONDS = 5.0  # a launcher forwards signals that its processes have also received from SLURM


def restore_default() -> None:
    """Restore the default action of the signals, also where the shell ignores them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class SignalRecorder:
    """Context manager that records the first signal; a later one, other than a duplicate, ends the process.

    Enter it in the main thread.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none received

    def __enter__(self) -> "SignalRecorder":
        self._before = {number: signal.signal(number, self._record) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _record(self, number: int, _: FrameType | None) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > DUPLICATE_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def ignore_in_worker(_worker: int = 0) -> None:
    """Ignore the signals in this process, a worker of torch's DataLoader; it ends with its parent.

    SLURM and torchrun signal all processes of a job, but the current step still needs the data. Masking the signals
    does not work: multiprocessing's resource tracker unmasks them.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
