"""Stopping several training processes together after one of them has received a signal."""

import torch
from torch import distributed

from abhinaya.runtime import signals


class Stopped(Exception):
    """A signal ended the training; a checkpoint of the current step has been saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal


class Agreement:
    """Distributes the number of a signal from one process to all processes.

    A call sends the number that this process has recorded, and returns the result of the previous call, which is the
    same in all processes. The exchange runs in the background on the CPUs, so no process waits for a GPU, or for a
    process that is less than a step behind. All processes must create the object and call it equally often. A single
    process sends nothing and gets its own number immediately.
    """

    def __init__(self, recorder: signals.SignalRecorder) -> None:
        self.recorder = recorder
        several = distributed.is_initialized() and distributed.get_world_size() > 1
        # A separate group, since NCCL cannot send CPU tensors, and to keep other communication out of this exchange.
        self.group = distributed.new_group(backend="gloo") if several else None
        self.number = torch.tensor(0)
        self.exchange: distributed.Work | None = None

    def __call__(self) -> int:
        """The number of the signal; 0: none."""
        if self.group is None:
            return self.recorder.number
        if self.exchange:
            self.exchange.wait()
        agreed = int(self.number)
        if not agreed:  # otherwise all processes stop, and there is no further call
            self.number = torch.tensor(self.recorder.number)
            self.exchange = distributed.all_reduce(self.number, distributed.ReduceOp.MAX, self.group, async_op=True)
        return agreed
