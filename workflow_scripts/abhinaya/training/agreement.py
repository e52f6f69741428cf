"""How several processes that train together learn of a signal that reached one of them."""

import torch
from torch import distributed

from abhinaya.runtime import signals


class Stopped(Exception):
    """A signal ended the training; the last checkpoint is of this very step."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal


class Agreement:
    """The number of a signal that one of the processes got, told to all of them at the same call.

    A call shares what this process has noted and returns what was shared at the call before. Meanwhile the numbers
    travel between CPUs, so that no process waits for another one that is late by less than a step, nor for its GPU. To
    be made and called in all processes, equally often; one process alone shares nothing and learns at once.
    """

    def __init__(self, noted: signals.SignalRecorder) -> None:
        self.noted = noted
        several = distributed.is_initialized() and distributed.get_world_size() > 1
        # Of its own, for NCCL has no CPU numbers, and no other communication may come in between.
        self.group = distributed.new_group(backend="gloo") if several else None
        self.number = torch.tensor(0)
        self.sharing: distributed.Work | None = None

    def __call__(self) -> int:
        """The signal's number; 0: none."""
        if self.group is None:
            return self.noted.number
        if self.sharing:
            self.sharing.wait()
        agreed = int(self.number)
        if not agreed:  # else all processes end, and ask no more
            self.number = torch.tensor(self.noted.number)
            self.sharing = distributed.all_reduce(self.number, distributed.ReduceOp.MAX, self.group, async_op=True)
        return agreed
