# `python` as a client of server.py; the first line, with the interpreter, is written in front of this file.
import json
import os
import signal
import socket
import sys
from pathlib import Path

SERVER = Path(__file__).parents[1] / "socket"
MODULES = (  # run by `-m`
    "abhinaya.preflight.node_checks",
    "prove_gpu",
    "prove_gpu.run_part",
    "pytest",
    "snakemake",
    "torch.distributed.run",
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["-u"]:
        arguments.pop(0)
    is_script = "".join(arguments[:1]).endswith(".py")
    if not is_script and not (arguments[:1] == ["-m"] and "".join(arguments[1:2]) in MODULES):
        ordinary()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(SERVER))
        request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        with connection.makefile() as replies:
            process = int(replies.readline())
            if not process:
                ordinary()
            for number in FORWARDED:
                signal.signal(number, lambda number, _: os.kill(process, number))
            status = int(replies.readline())
    if status < 0:
        if -status != signal.SIGKILL:  # which has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def ordinary() -> None:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


main()
