"""Run a command; end it and all its descendants when the starting process ends.

    python -m abhinaya.zero_shot.process_guard COMMAND…

The starter holds the write end of a pipe, which is this program's standard input. When the starter ends, even by
SIGKILL, the kernel closes the pipe: the command's process group gets SIGTERM and, after a grace period, SIGKILL.
Without this, vLLM's engine and workers would keep running and keep the GPUs when its API server is killed.

Imports only the standard library, so that it starts fast and runs as a script.
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

GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
POLL_SECONDS = 0.1
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Run the given command; return its exit status, or 128 + n if it was ended by signal n."""
    parser = argparse.ArgumentParser(prog="guard", description="run a command until standard input is closed")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, metavar="SECONDS", help="from SIGTERM to SIGKILL")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="command to run, with its arguments"
    )
    args = parser.parse_args()
    if not args.command:
        parser.error("give a COMMAND")
    signals = _catch()
    # Adopt orphans: they must be reaped to disappear, which process 1 in a container may not do.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        # New session: Ctrl-C in the terminal reaches only the starter, whose end closes the pipe.
        leader = subprocess.Popen(args.command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"error: {args.command[0]}: cannot be executed ({error.strerror}); correct the command", file=sys.stderr)
        return 127
    while leader.poll() is None and not signals and not _closed(sys.stdin.fileno()):
        pass
    _end(leader, args.grace)
    return leader.returncode if leader.returncode >= 0 else 128 - leader.returncode


def _catch() -> list[int]:
    """Collect the signals received from now on, including those that the starter ignores (`nohup`, background jobs).

    The guard has its own session, so signals of a closing terminal do not reach it.
    """
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.append(number))
    return received


def _closed(pipe: int) -> bool:
    """Whether the other end of the pipe is closed; waits briefly. Data written to it is discarded."""
    readable, _, _ = select.select([pipe], [], [], POLL_SECONDS)
    return bool(readable) and not os.read(pipe, 4096)


def _end(leader: subprocess.Popen, grace: float) -> None:
    """End the remaining processes of the group, which may outlive its leader."""
    deadline = time.monotonic() + grace
    left = _signal(leader, signal.SIGTERM)
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = _signal(leader, 0)
    if left:
        _signal(leader, signal.SIGKILL)
    leader.wait()


def _signal(leader: subprocess.Popen, number: int) -> bool:
    """Send a signal to the group (0 sends none); return False if the group is empty."""
    _reap(leader)
    try:
        os.killpg(leader.pid, number)
    except ProcessLookupError:
        return False
    return True


def _reap(leader: subprocess.Popen) -> None:
    """Reap the group's terminated processes that are children of this one."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-leader.pid, os.WNOHANG))[0]:
            if ended[0] == leader.pid:
                leader.returncode = os.waitstatus_to_exitcode(ended[1])


if __name__ == "__main__":
    sys.exit(main())
