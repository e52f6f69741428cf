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
from abhinaya.runtime import slurm_gpu_models
from abhinaya.runtime.errors import UserError

TIMEOUT = 60  # seconds for SLURM's commands
PREFIX = re.compile(r"^(?:sbatch: )?(?:(?:error|fatal|allocation failure|Batch job submission failed): )*")
DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")  # days-hours:minutes:seconds
# Limits of a partition in `scontrol show partition`: the option of sbatch, the unit, the key in the configuration.
LIMITS = {
    "MaxTime": ("-t", "minutes", "runtime"),
    "MaxMemPerNode": ("--mem", "MB", "mem_mb"),
    "MaxCPUsPerNode": ("--cpus-per-task", "CPUs", "cpus"),
    "MaxNodes": ("--nodes", "nodes", "nodes"),
}
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
    """Check for the command that Snakemake's plugin needs to find or check a job's account, and the account.

    Raises:
        UserError: the command is missing, or the account is not one of the user's.
    """
    from snakemake_executor_plugin_slurm.accounts import validate_account
    from snakemake_interface_common.exceptions import WorkflowError

    accounts = _accounts(job)
    command = "sacctmgr" if accounts else "sacct"
    if not shutil.which(command):
        raise UserError(f"{command} not found, which Snakemake's SLURM plugin needs; install SLURM's clients")
    for account in accounts:
        try:
            validate_account(account, LOG)
        except (WorkflowError, OSError) as error:
            raise UserError(f"account {account}: {' '.join(str(error).split())}; correct the profile") from None


def _accounts(job: Job) -> list[str]:
    """The accounts in a job's resources; the plugin uses the first."""
    return re.findall(r"[^,\s]+", str(job.resources.get("slurm_account") or ""))


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
            "profile's settings of your site"
        )
    _check_limits(command)
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


def _check_limits(command: list[str]) -> None:
    """Compare an sbatch command with the limits of its partition; where SLURM does not enforce them, jobs wait forever.

    Raises:
        UserError: it requests more.
    """
    partition = _option(command, "-p")
    if partition is None or "," in partition:  # SLURM takes the first of several that accepts the job
        return
    shown = " ".join(run("scontrol", "--oneliner", "show", "partition", partition))
    limits = dict(word.split("=", 1) for word in shown.split() if "=" in word)
    for name, (option, unit, key) in LIMITS.items():
        limit, requested = _number(limits.get(name, "")), _option(command, option)
        if limit and requested and int(requested) > limit:  # 0: unlimited
            raise UserError(
                f"exceeds the {limit} {unit} of partition {partition} (requested: {_requested(command)}); lower "
                f"`{key}`, or add a partition with a higher limit to the profile"
            )


def _option(command: list[str], name: str) -> str | None:
    """The value of an option, which is the next word or follows an equals sign."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _number(limit: str) -> int | None:
    """A limit as a number, a duration in minutes; None: unlimited."""
    if limit.isdecimal():
        return int(limit)
    match = DURATION.fullmatch(limit)
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
    from snakemake_executor_plugin_slurm import utils
    from snakemake_executor_plugin_slurm.partitions import (
        get_best_partition,
        get_default_partition,
        read_partition_file,
    )
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

    slurm_gpu_models.patch()
    request = SimpleNamespace(name=job.name, threads=job.threads, resources=Resources(job.resources))
    if "slurm_extra" in job.resources:
        validate_slurm_extra(request)
    partition = job.resources.get("slurm_partition")
    if not partition and slurm.partitions:
        partition = get_best_partition(read_partition_file(Path(slurm.partitions)), request, LOG)
        if not partition:  # the plugin would submit it to SLURM's default partition
            raise UserError(
                f"{job.name}: its {_size(job)} fit no partition of the profile; correct `partitions`, or lower its "
                "`resources`"
            )
    if not partition and shutil.which("sinfo"):
        partition = get_default_partition(request, LOG)
    account = next(iter(_accounts(job)), None)
    parameters = {
        "run_uuid": "preflight",
        "slurm_logfile": "/dev/null",
        "comment_str": "preflight",
        "account": f"-A {shlex.quote(account)}" if account else "",
        "partition": f"-p {shlex.quote(str(partition))}" if partition else "",
        "workdir": None,
    }
    command = get_submit_command(request, parameters, settings=slurm)
    return shlex.split(command + utils.set_gres_string(request))


def _size(job: Job) -> str:
    """What counts for the choice of a partition."""
    found = {key: job.resources.get(key) for key in ("gpu", "gres", "mem_mb", "runtime", "nodes", "constraint")}
    wanted = [f"{key}: {value}" for key, value in found.items() if value]
    return ", ".join([f"cpus: {job.threads}", *wanted])


def _requested(command: list[str]) -> str:
    """The part of a command with the requested resources."""
    start = next((index for index, word in enumerate(command) if word == "--comment"), -2) + 2
    return " ".join(command[start:])
