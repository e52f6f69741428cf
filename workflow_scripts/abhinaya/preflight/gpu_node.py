"""Check the node on which GPU jobs run, in less than two minutes, before the first expensive job.

A library that does not fit its node may end the whole process. So each check runs in a process of its own, and a crash
is one failed line like any other.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

from abhinaya.preflight import Finding, node_checks
from abhinaya.runtime.console import printable
from abhinaya.runtime.versions import versions
from abhinaya.zero_shot import vllm_args

MACHINE = {"cuda": ("driver", "GPU", "capability", "GPU memory", "compiler", "all-reduce")}
MACHINE["cpu"] = ("compiler", "all-reduce")
# What jobs need besides: transcription with WhisperX, zero-shot labelling with a vLLM server of its own.
WORK = {
    "whisperx": {"cuda": ("cuBLAS 12", "CTranslate2"), "cpu": ("CTranslate2",)},
    "vllm": {"cuda": ("vLLM sampler",), "cpu": ("vLLM sampler",)},
}
SECONDS = 120  # for one check; importing its libraries takes most of the time
PACKAGES = ("torch", "triton", "transformers", "ctranslate2")  # vLLM's name is another in its build for CPUs
LIBRARY = str(Path(__file__).parents[2])


def machine(device: str) -> list[Finding]:
    """The results of the checks that every job needs.

    Args:
        device: cuda, or cpu to leave out what concerns a GPU.
    """
    return [run(name, device) for name in MACHINE[device]]


def check(device: str, work: Iterable[str]) -> Iterator[Finding]:
    """The results of the checks that every job needs, and of those that kinds of work (keys of `WORK`) need besides."""
    for names in (MACHINE, *(WORK[kind] for kind in work)):
        yield from (run(name, device) for name in names[device])


def report(device: str, findings: list[Finding]) -> dict[str, Any]:
    """The results with the machine's name and the versions of the packages, as JSON types."""
    present = [name for name in PACKAGES if importlib.util.find_spec(name)]
    return {
        "host": socket.gethostname(),
        "device": device,
        "checks": [asdict(finding) for finding in findings],
        "versions": versions(present) | {"vllm": vllm_args.version()},
    }


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
