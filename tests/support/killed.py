"""`killed.py EPOCHS …`: train.py with the arguments …; it kills itself after so many epochs."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow_scripts"))

import train
from abhinaya.training.loop import Loop

train_epoch = Loop.train_epoch


def train_or_kill(self: Loop, epoch: int) -> None:
    if epoch == epochs:
        os.kill(os.getpid(), signal.SIGKILL)
    train_epoch(self, epoch)


epochs = int(sys.argv.pop(1))
Loop.train_epoch = train_or_kill
train.main()
