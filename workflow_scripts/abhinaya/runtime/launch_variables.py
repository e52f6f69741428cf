"""The environment variables by which a launcher tells its processes their number, and which of them are believed."""

import os

LAUNCHED = "ABHINAYA_LAUNCHED"  # set by our own launcher for its processes
# Set by torchrun, accelerate and the launchers of MPI; read by torch and accelerate.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK")
OTHERS = ("ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMI_RANK", "PMI_SIZE")
PREFIXES = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "MPI_LOCAL")


def is_launched() -> bool:
    """Whether this process was started by `launch.launch`."""
    return LAUNCHED in os.environ and "LOCAL_RANK" in os.environ


def drop_leftovers() -> None:
    """Remove these variables, unless this process was started by `launch.launch`.

    A login shell or the job of an MPI launcher may have set them. torch and accelerate would believe them and wait for
    other processes, which do not exist.
    """
    if is_launched():
        return
    names = {LAUNCHED, *TORCHRUN, *OTHERS}
    for name in [name for name in os.environ if name in names or name.startswith(PREFIXES)]:
        del os.environ[name]
