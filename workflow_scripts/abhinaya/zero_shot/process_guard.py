"""Run a command; end it and all its descendants when whoever started it is gone.

    python -m abhinaya.zero_shot.process_guard COMMAND…

The starter holds the write end of a pipe that is this program's standard input. However the starter ends, SIGKILL
included, the kernel closes that pipe: then the command's process group gets SIGTERM and, after a grace, SIGKILL. vLLM
needs it: when its API server is killed, its engine and its workers, which share the group, live on and keep the GPUs.

Imports nothing but the standard library, so that it starts at once and runs as `python guard.py` too.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 10.0  # seconds from SIGTERM to SIGKILL
POLL = 0.1  # seconds
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Run the command of the command line; its exit status, 128 + n if signal n ended it (as in a shell)."""
    parser = argparse.ArgumentParser(prog="guard", description="run a command until standard input is closed")
    parser.add_argument("--grace", type=float, default=GRACE, metavar="SECONDS", help="from SIGTERM to SIGKILL")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, and its arguments")
    options = parser.parse_args()
    if not options.command:
        parser.error("give a COMMAND")
    signals = _catch()
    # Orphans become ours to reap: unreaped they count as left, and in a container process 1 may reap nobody.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        # A session of its own: Ctrl-C in the starter's terminal is for the starter, whose end then closes the pipe.
        leader = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"error: {options.command[0]}: cannot be run ({error.strerror})", file=sys.stderr)
        return 127
    while leader.poll() is None and not signals and not _closed(sys.stdin.fileno()):
        pass
    _end(leader, options.grace)
    return leader.returncode if leader.returncode >= 0 else 128 - leader.returncode


def _catch() -> list[int]:
    """The signals that arrive from now on, also those that the starter ignores (`nohup`, a shell's background job).

    The guard has a session of its own, so a terminal that closes does not reach it: a signal here is meant for it.
    """
    arrived: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: arrived.append(number))
    return arrived


def _closed(lifeline: int) -> bool:
    """Whether the other end of the pipe is closed; waits a moment for that. What is written to it is dropped."""
    readable, _, _ = select.select([lifeline], [], [], POLL)
    return bool(readable) and not os.read(lifeline, 4096)


def _end(leader: subprocess.Popen, grace: float) -> None:
    """End what is left of the group, which outlives its leader."""
    deadline = time.monotonic() + grace
    left = _signal(leader, signal.SIGTERM)
    while left and time.monotonic() < deadline:
        time.sleep(POLL)
        left = _signal(leader, 0)
    if left:
        _signal(leader, signal.SIGKILL)
    leader.wait()


def _signal(leader: subprocess.Popen, number: int) -> bool:
    """Send a signal to the group (0 sends none); False when nobody is left in it."""
    _reap(leader)
    try:
        os.killpg(leader.pid, number)
    except ProcessLookupError:
        return False
    return True


def _reap(leader: subprocess.Popen) -> None:
    """Take the exit statuses of those of the group who have ended and are our children."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-leader.pid, os.WNOHANG))[0]:
            if ended[0] == leader.pid:
                leader.returncode = os.waitstatus_to_exitcode(ended[1])


if __name__ == "__main__":
    sys.exit(main())
