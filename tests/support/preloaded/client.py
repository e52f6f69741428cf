# `python` as a client of server.py; the first line, with the interpreter, is written in front of this file.
import json
import os
import signal
import socket
import sys
from pathlib import Path

SERVER = Path(__file__).parents[1] / "socket"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main() -> None:
    if sys.argv[1:3] != ["-m", "snakemake"] and not "".join(sys.argv[1:2]).endswith(".py"):
        ordinary()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(SERVER))
        request = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        with connection.makefile() as replies:
            process = int(replies.readline())
            if not process:
                ordinary()
            for number in FORWARDED:
                signal.signal(number, lambda number, _: os.kill(process, number))
            status = int(replies.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def ordinary() -> None:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


main()
