"""`server.py SOCKET`: forks of this process, in which the libraries are imported, run the scripts of client.py."""

import gc
import importlib
import json
import multiprocessing
import os
import random
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

# What the scripts import, and the models of config/test.yaml. Not matplotlib's pyplot, which starts threads.
LIBRARIES = (
    *("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "matplotlib.figure", "soundfile"),
    *("pydantic", "snakemake.cli", "torch", "accelerate", "peft", "transformers.models.auto.modeling_auto"),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "llama", "wavlm", "whisper")),
)
# Not all of TORCH…: torch and OpenCV set TORCHINDUCTOR_CACHE_DIR and LD_LIBRARY_PATH when the tests import them.
READ_AT_IMPORT = ("CUDA", "HF_", "NCCL", "PYTHON", "TOKENIZERS_", "TORCH_", "TORCHDYNAMO_", "TRANSFORMERS_", "VLLM_")
READ_LATER = ("PYTHONPATH", "TORCH_NCCL_ASYNC_ERROR_HANDLING")  # the latter is torchrun's
CLIENT = Path(sys.argv[1]).parent / "bin" / "python"


def main() -> None:
    started_with = read_at_import(os.environ)  # libraries set some, too
    multiprocessing.set_executable(sys.executable)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finished handlers leave no zombie
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                handle(connection, started_with)
                return
            connection.close()
    os._exit(0)


def handle(connection: socket.socket, started_with: dict[str, str]) -> None:
    """Run the requested script in a fork, and reply with its number and its status; kill it if the client ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, *_ = socket.recv_fds(connection, 2**16, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(2**16)
    request = json.loads(message)
    if read_at_import(request["environment"]) != started_with:
        connection.sendall(b"0\n")
        os._exit(0)
    process = os.fork()
    if process == 0:
        connection.close()
        run(request, streams)
        return
    ended = os.pidfd_open(process)
    with suppress(BrokenPipeError):  # the client was killed
        connection.sendall(b"%d\n" % process)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(BrokenPipeError):
        connection.sendall(b"%d\n" % status)
    os._exit(0)


def run(request: dict, streams: list[int]) -> None:
    """Become the process that was asked for."""
    import numpy as np
    import torch

    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    # The server's own streams may know other properties, such as whether they can seek.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if threads := os.environ.get("OMP_NUM_THREADS"):  # is read when the libraries are loaded
        torch.set_num_threads(int(threads))
    random.seed()
    np.random.seed()
    sys.executable = str(CLIENT)  # for the processes that this one starts; multiprocessing keeps the interpreter
    sys.path[1:1] = filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = request["arguments"]
    if sys.argv[0] == "-m":
        sys.argv.pop(0)
        sys.path[0] = request["folder"]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


def read_at_import(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT) and name not in READ_LATER
    }


main()
