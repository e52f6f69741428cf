"""Signals that ask a long job to end soon: SLURM's before a time-out, a preemption or a node's drain, or a user's.

Imports nothing but the standard library, so that a script can use it before all else.
"""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
ECHO = 5.0  # seconds; a launcher passes on what its processes got from SLURM themselves


def end_at_once() -> None:
    """Let signals end this process where it stands, also where its shell ignores them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Noted:
    """While this context lasts, the first signal is noted; one that comes later than its echoes ends the process.

    To be entered in the main thread.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none has come

    def __enter__(self) -> "Noted":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > ECHO:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def outlive(_worker: int = 0) -> None:
    """Let this process, a worker of torch's loader, end at no signal: it ends when its parent is done or gone.

    SLURM and torchrun send a signal to all processes of a job, but the step under way needs what they load. A mask
    would not do: multiprocessing's resource tracker lifts it.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
