"""train.py, with a signal to itself, or to the torchrun that started it, at a step of the training.

`SIGNALLED_AT=STEP … signalled.py` with train.py's arguments. Step 0: while the model is loaded.
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow_scripts"))

import train
from abhinaya.runtime import launch_variables

STEP = int(os.environ["SIGNALLED_AT"])


def send() -> None:
    if os.environ.get("RANK", "0") == "0":
        os.kill(os.getppid() if launch_variables.is_launched() else os.getpid(), signal.SIGTERM)


def load(*_: object) -> None:
    send()
    time.sleep(60)


# A process that only launches others does not import torch.
if launch_variables.is_launched() or "--nodes" not in sys.argv:
    from abhinaya.training import train as training
    from abhinaya.training.loop import Loop

    end_step = Loop.end_step

    def signalled_step(self: Loop) -> None:
        if self.step == STEP:
            send()
            while self.processes.is_main_process and not self.agreement.recorder.number:
                time.sleep(0.01)
        end_step(self)

    if STEP:
        Loop.end_step = signalled_step
    else:
        training.build = load

if __name__ == "__main__":
    train.errors.run(train.main)
