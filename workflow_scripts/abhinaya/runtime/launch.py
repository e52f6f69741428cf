"""Distributed launch: one process per GPU, on one machine or on several nodes of a SLURM job.

torchrun starts and monitors the processes of a machine. For several machines, srun starts torchrun on each of them; the
rendezvous endpoint is a port of the first machine, passed on in an environment variable.
"""

import os
import shutil
import signal
import socket
import sys
from typing import NoReturn

from abhinaya.runtime.errors import UserError
from abhinaya.runtime.launch_variables import LAUNCHED, drop_leftovers

RENDEZVOUS = "ABHINAYA_RENDEZVOUS"  # environment variable: HOST:PORT of the rendezvous
SIGNALS = "SIGTERM,SIGUSR1,SIGINT,SIGHUP,SIGQUIT"  # forwarded to the processes
SHUTDOWN_SECONDS = 120  # from a forwarded signal to SIGKILL; torchrun's default, 30, is too short to save a large model


def is_first() -> bool:
    """Whether this is the process of rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"


def launch(processes: int, nodes: int = 1, cpus: int = 1) -> NoReturn:
    """Run this program again in `processes` processes on each of `nodes` machines; exit with their status.

    Args:
        cpus: CPU cores of each machine.

    Raises:
        UserError: several machines without SLURM; a process was killed; another machine failed.
    """
    if nodes > 1 and RENDEZVOUS not in os.environ:
        _srun(nodes, cpus)
    if nodes > 1:
        rendezvous = [f"--nnodes={nodes}", "--rdzv-backend=c10d", "--rdzv-id=train"]
        rendezvous.append(f"--rdzv-endpoint={os.environ[RENDEZVOUS]}")
    else:
        rendezvous = ["--standalone"]
    # torchrun's default for several processes on a machine: keeps sums equal for any number of processes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    drop_leftovers()
    os.environ[LAUNCHED] = "1"
    _torchrun(
        *rendezvous,
        f"--nproc-per-node={processes}",
        f"--signals-to-handle={SIGNALS}",
        f"--shutdown-timeout={SHUTDOWN_SECONDS}",
        *sys.argv,
    )


def _srun(nodes: int, cpus: int) -> NoReturn:
    """Replace this process, on the job's first machine, by an srun that starts the program once per machine."""
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise UserError(f"resources.nodes: {nodes} nodes need SLURM; run with --profile slurm, or set it to 1")
    with socket.socket() as free:
        free.bind(("", 0))
        os.environ[RENDEZVOUS] = f"{socket.gethostname()}:{free.getsockname()[1]}"
    step = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}"]
    # If one machine fails, end the others too instead of letting them wait.
    os.execvp("srun", ["srun", *step, "--kill-on-bad-exit=1", "--input=none", sys.executable, *sys.argv])


def _torchrun(*arguments: str) -> NoReturn:
    """Run torchrun; exit with the status of the first process that failed, which has printed its own error."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError
    from torch.distributed.run import main

    try:
        main(arguments)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except RendezvousConnectionError:
        raise UserError("another machine of the job ended first; see its log lines for the reason") from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise UserError(
                f"process {rank} was killed by {name}, possibly out of memory; increase `resources.mem_mb`"
            ) from None
        sys.exit(failure.exitcode)
    sys.exit(0)
