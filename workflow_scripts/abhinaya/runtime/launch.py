"""Starting a program in several processes: one for each GPU of a machine, on one machine or on several of a SLURM job.

torchrun starts and watches the processes of a machine. On several machines srun starts a torchrun on each; they meet at
a port of the first, whose address is in the environment.
"""

import os
import shutil
import signal
import socket
import sys
from typing import NoReturn

from abhinaya.runtime.errors import UserError

MEETING = "ABHINAYA_MEETING"  # environment variable: HOST:PORT where the machines meet
SIGNALS = "SIGTERM,SIGUSR1,SIGINT,SIGHUP,SIGQUIT"  # passed on to the processes
CHECKPOINT = 120  # seconds from a signal that is passed on to SIGKILL; torchrun's own 30 are few for a large model


def is_launched() -> bool:
    """Whether this is one of the processes."""
    return "LOCAL_RANK" in os.environ


def is_first() -> bool:
    """Whether this is the first of the processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def launch(processes: int, nodes: int = 1, cpus: int = 1) -> NoReturn:
    """Run this program anew in so many `processes` on each of `nodes` machines, and end as they end.

    Args:
        cpus: cores of each machine.

    Raises:
        UserError: several machines without SLURM; a process that was killed; another machine that failed.
    """
    if nodes > 1 and MEETING not in os.environ:
        _on_all(nodes, cpus)
    if nodes > 1:
        meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", "--rdzv-id=train"]
        meeting.append(f"--rdzv-endpoint={os.environ[MEETING]}")
    else:
        meeting = ["--standalone"]
    # As torchrun has it for several processes on a machine: the same sums, however they are spread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _torchrun(
        *meeting,
        f"--nproc-per-node={processes}",
        f"--signals-to-handle={SIGNALS}",
        f"--shutdown-timeout={CHECKPOINT}",
        *sys.argv,
    )


def _on_all(nodes: int, cpus: int) -> NoReturn:
    """Become the srun that starts this program once on each machine of the job, of which this is the first."""
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise UserError(f"resources.nodes: {nodes} machines need SLURM; run with --profile slurm, or set it to 1")
    with socket.socket() as free:
        free.bind(("", 0))
        os.environ[MEETING] = f"{socket.gethostname()}:{free.getsockname()[1]}"
    step = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}"]
    # A machine that fails must not leave the others waiting for it.
    os.execvp("srun", ["srun", *step, "--kill-on-bad-exit=1", "--input=none", sys.executable, *sys.argv])


def _torchrun(*arguments: str) -> NoReturn:
    """Leave with the status of the process that failed first; what went wrong it has told itself."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError
    from torch.distributed.run import main

    try:
        main(arguments)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except RendezvousConnectionError:
        raise UserError("another machine of the job ended before this one; its own lines tell why") from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise UserError(
                f"process {rank} was ended by {name}, perhaps for lack of memory; raise `resources.mem_mb`"
            ) from None
        sys.exit(failure.exitcode)
    sys.exit(0)
