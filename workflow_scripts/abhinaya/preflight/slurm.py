"""Checks with SLURM: each kind of job is submitted like Snakemake's plugin does, with `--test-only`.

Also finds jobs of a killed Snakemake that still run, which a new run would duplicate.
"""

import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from abhinaya.preflight.plan import Job, Slurm
from abhinaya.runtime.errors import UserError

TIMEOUT = 60  # seconds for SLURM's commands
PREFIX = re.compile(r"^(?:sbatch: )?(?:(?:error|fatal|allocation failure|Batch job submission failed): )*")
LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")  # days-hours:minutes:seconds
COMMENT = re.compile("(rule|group)_")  # the comment that the plugin gives to jobs
LOG = logging.getLogger(__name__)


class Resources(dict):
    """A job's resources, accessible by key or as attributes, as the plugin does."""

    __getattr__ = dict.__getitem__


def commands(jobs: list[Job], slurm: Slurm) -> Iterator[tuple[str, list[str]]]:
    """A name and the sbatch command for each distinct command of `jobs`.

    Raises:
        UserError: the file of partitions is invalid.
    """
    from snakemake_interface_common.exceptions import WorkflowError

    seen = set()
    for job in jobs:
        try:
            command = tuple(_command(job, slurm))
        except (WorkflowError, OSError, TypeError, KeyError) as error:
            raise UserError(f"{job.name}: sbatch command failed ({error}); correct the profile") from None
        if command not in seen:
            seen.add(command)
            yield job.name, list(command)


def accounting(job: Job) -> None:
    """Check for the command that Snakemake's plugin needs to find or check a job's account.

    Raises:
        UserError: the command is missing.
    """
    command = "sacctmgr" if job.resources.get("slurm_account") else "sacct"
    if not shutil.which(command):
        raise UserError(f"{command} not found, which Snakemake's SLURM plugin needs; install SLURM's clients")


def test_only(command: list[str]) -> str:
    """Test with SLURM whether a job would be accepted; return the requested resources.

    Raises:
        UserError: SLURM rejects it or does not respond.
    """
    done = _run(*command, "--test-only", "--wrap=:")
    output = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode:
        reason = "; ".join(PREFIX.sub("", line) for line in output) or f"exit status {done.returncode}"
        raise UserError(
            f"rejected: {reason} (requested: {_requested(command)}); lower its `resources`, or correct the "
            "profile's partitions, account or gpu_model"
        )
    limit = max_minutes(command)  # on clusters that do not enforce it, the job would wait forever
    if limit and int(command[command.index("-t") + 1]) > limit:
        raise UserError(
            f"exceeds the {limit} minutes of its partition (requested: {_requested(command)}); lower `runtime`, or "
            "use a partition for longer jobs"
        )
    return _requested(command)


def orphans(folder: Path) -> None:
    """Check for running jobs of the user that Snakemake submitted from `folder`.

    Raises:
        UserError: there are some, or SLURM does not respond.
    """
    jobs = [line.split("|", 2) for line in run("squeue", "--me", "--noheader", "--format=%A|%Z|%k") if "|" in line]
    running = [number for number, place, comment in jobs if COMMENT.match(comment) and Path(place) == folder]
    if running:
        raise UserError(
            f"jobs of an earlier run are still running: {', '.join(running)}; wait until they end, or "
            f"cancel them: scancel {' '.join(running)}"
        )


def max_minutes(command: list[str]) -> int | None:
    """The time limit in minutes of an sbatch command's partition; None: no limit or no partition."""
    if "-p" not in command:
        return None
    (limit,) = run("sinfo", "--noheader", "--format=%l", "--partition", command[command.index("-p") + 1])[:1] or [""]
    match = LIMIT.fullmatch(limit.strip())
    if not match:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


def run(*command: str) -> list[str]:
    """The output lines of a SLURM command.

    Raises:
        UserError: it failed or does not respond.
    """
    done = _run(*command)
    if done.returncode:
        raise UserError(f"{command[0]} failed ({' '.join(done.stderr.split())}); check that `sinfo` works")
    return done.stdout.splitlines()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except FileNotFoundError:
        raise UserError(f"{command[0]} not found; run on a machine with SLURM") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"no response within {TIMEOUT} s; check that `sinfo` works") from None


def _command(job: Job, slurm: Slurm) -> list[str]:
    from snakemake_executor_plugin_slurm.partitions import (
        get_best_partition,
        get_default_partition,
        read_partition_file,
    )
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    request = SimpleNamespace(name=job.name, threads=job.threads, resources=Resources(job.resources))
    partition = job.resources.get("slurm_partition")
    if not partition and slurm.partitions:
        partition = get_best_partition(read_partition_file(Path(slurm.partitions)), request, LOG)
    if not partition and shutil.which("sinfo"):
        partition = get_default_partition(request, LOG)
    account = job.resources.get("slurm_account")
    parameters = {
        "run_uuid": "preflight",
        "slurm_logfile": "/dev/null",
        "comment_str": "preflight",
        "account": f"-A {shlex.quote(account)}" if account else "",
        "partition": f"-p {shlex.quote(str(partition))}" if partition else "",
        "workdir": None,
    }
    settings = SimpleNamespace(requeue=False, no_requeue=False, qos=slurm.qos, reservation=None)
    return shlex.split(get_submit_command(request, parameters, settings=settings) + set_gres_string(request))


def _requested(command: list[str]) -> str:
    """The part of a command with the requested resources."""
    start = next((index for index, word in enumerate(command) if word == "--comment"), -2) + 2
    return " ".join(command[start:])
