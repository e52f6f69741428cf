"""Check the node on which GPU jobs run, in less than two minutes, before the first expensive job.

A library that does not fit its node may end the whole process. So each check runs in a process of its own, and a crash
is one failed line like any other.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from json import JSONDecodeError, loads
from pathlib import Path

from abhinaya.preflight import Finding, node_checks
from abhinaya.runtime.console import printable

MACHINE = {"cuda": ("driver", "GPU", "capability", "GPU memory", "compiler", "all-reduce")}
MACHINE["cpu"] = ("compiler", "all-reduce")
# What jobs need besides: transcription with WhisperX, zero-shot labelling with a vLLM server of its own.
WORK = {
    "whisperx": {"cuda": ("cuBLAS 12", "CTranslate2"), "cpu": ("CTranslate2",)},
    "vllm": {"cuda": ("vLLM sampler",), "cpu": ("vLLM sampler",)},
}
SECONDS = 120  # for one check; importing its libraries takes most of the time
LIBRARY = str(Path(__file__).parents[2])


def machine(device: str) -> list[Finding]:
    """The results of the checks that every job needs.

    Args:
        device: cuda, or cpu to leave out what concerns a GPU.
    """
    return [run(name, device) for name in MACHINE[device]]


def work(kind: str, device: str) -> list[Finding]:
    """The results of the checks that one kind of job needs besides `machine`: a key of `WORK`."""
    return [run(name, device) for name in WORK[kind][device]]


def names(device: str, kinds: list[str]) -> Iterator[str]:
    """The names of the checks of `machine` and of `work` for `kinds`."""
    yield from MACHINE[device]
    for kind in kinds:
        yield from WORK[kind][device]


def run(name: str, device: str, seconds: float = SECONDS) -> Finding:
    """The result of one check of `node_checks`, which fails if its process crashes or takes too long."""
    command = [sys.executable, "-m", node_checks.__name__, name, device]
    with tempfile.TemporaryFile("w+") as errors:  # not a pipe, which a process left behind could keep open
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=seconds,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join([LIBRARY, *filter(None, [os.environ.get("PYTHONPATH")])])},
            )
            result = loads(done.stdout)
            return Finding(name, printable(result["message"]), result["failed"])
        except subprocess.TimeoutExpired:
            reason = f"no result after {seconds:g} s"
        except JSONDecodeError:
            errors.seek(0)
            reason = _ending(done.returncode, errors.read())
    return Finding(name, printable(f"{reason}; {node_checks.CHECKS[name][1]}"), failed=True)


def _ending(status: int, errors: str) -> str:
    """How a process without a result ended."""
    if status < 0:
        return f"crashed with {signal.Signals(-status).name}"
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "no message")
    return f"ended with status {status} ({last.strip()})"
