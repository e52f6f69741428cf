"""Would SLURM take the jobs? Each kind is submitted as Snakemake's plugin would, with `--test-only`.

And does an earlier run's job still work here? A killed Snakemake leaves its jobs behind, and would start twins of them.
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

SECONDS = 60  # for sbatch to answer
BEFORE = re.compile(r"^(?:sbatch: )?(?:(?:error|fatal|allocation failure|Batch job submission failed): )*")
LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")  # days-hours:minutes:seconds
OURS = re.compile("(rule|group)_")  # what the plugin comments a job with
LOG = logging.getLogger(__name__)


class Resources(dict):
    """A job's resources as the plugin reads them, by key or as attributes."""

    __getattr__ = dict.__getitem__


def kinds(jobs: list[Job], slurm: Slurm) -> Iterator[tuple[str, list[str]]]:
    """A name and sbatch's command line for each different one that `jobs` need.

    Raises:
        UserError: the file with the partitions is none.
    """
    from snakemake_interface_common.exceptions import WorkflowError

    seen = set()
    for job in jobs:
        try:
            command = tuple(_command(job, slurm))
        except (WorkflowError, OSError, TypeError, KeyError) as error:
            raise UserError(f"{job.name} cannot be submitted ({error}); correct the profile") from None
        if command not in seen:
            seen.add(command)
            yield job.name, list(command)


def accounting(job: Job) -> None:
    """Look for the command with which Snakemake's plugin finds or checks a job's account; it submits none without.

    Raises:
        UserError: the command is missing.
    """
    command = "sacctmgr" if job.resources.get("slurm_account") else "sacct"
    if not shutil.which(command):
        raise UserError(f"no {command} on this machine, which Snakemake's SLURM plugin needs; install SLURM's clients")


def test_only(command: list[str]) -> str:
    """Ask SLURM whether it would take a job; what it was asked for.

    Raises:
        UserError: SLURM refuses it, or does not answer, and why.
    """
    done = _answer(*command, "--test-only", "--wrap=:")
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode:
        reason = "; ".join(BEFORE.sub("", line) for line in said) or f"exit status {done.returncode}"
        raise UserError(
            f"refused, {reason} (asked: {_asked(command)}); lower its `resources`, or correct the "
            "profile's partitions, account or gpu_model"
        )
    limit = longest(command)  # a cluster that does not enforce it would let the job wait for ever
    if limit and int(command[command.index("-t") + 1]) > limit:
        raise UserError(
            f"asks for more than the {limit} minutes of its partition (asked: {_asked(command)}); lower `runtime`, or "
            "name a partition for longer jobs"
        )
    return _asked(command)


def orphans(folder: Path) -> None:
    """Look for jobs of the user that Snakemake has submitted from `folder`.

    Raises:
        UserError: there are some, or SLURM does not answer.
    """
    found = [line.split("|", 2) for line in ask("squeue", "--me", "--noheader", "--format=%A|%Z|%k") if "|" in line]
    left = [number for number, place, comment in found if OURS.match(comment) and Path(place) == folder]
    if left:
        raise UserError(
            f"jobs of an earlier run still work here: {', '.join(left)}; wait until `squeue` lists them no more, or "
            f"cancel them first: scancel {' '.join(left)}"
        )


def longest(command: list[str]) -> int | None:
    """Minutes that the partition of an sbatch command allows; None: any, or no partition is named."""
    if "-p" not in command:
        return None
    (told,) = ask("sinfo", "--noheader", "--format=%l", "--partition", command[command.index("-p") + 1])[:1] or [""]
    found = LIMIT.fullmatch(told.strip())
    if not found:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def ask(*command: str) -> list[str]:
    """What one of SLURM's commands prints, in lines.

    Raises:
        UserError: it fails or does not answer.
    """
    done = _answer(*command)
    if done.returncode:
        raise UserError(f"{command[0]} failed ({' '.join(done.stderr.split())}); see whether `sinfo` answers")
    return done.stdout.splitlines()


def _answer(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise UserError(f"no {command[0]} on this machine; start from one that has SLURM") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"no answer within {SECONDS} s; see whether `sinfo` answers") from None


def _command(job: Job, slurm: Slurm) -> list[str]:
    from snakemake_executor_plugin_slurm.partitions import (
        get_best_partition,
        get_default_partition,
        read_partition_file,
    )
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    asked = SimpleNamespace(name=job.name, threads=job.threads, resources=Resources(job.resources))
    partition = job.resources.get("slurm_partition")
    if not partition and slurm.partitions:
        partition = get_best_partition(read_partition_file(Path(slurm.partitions)), asked, LOG)
    if not partition and shutil.which("sinfo"):
        partition = get_default_partition(asked, LOG)
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
    return shlex.split(get_submit_command(asked, parameters, settings=settings) + set_gres_string(asked))


def _asked(command: list[str]) -> str:
    """The part of a command line that says what is asked for."""
    start = next((index for index, word in enumerate(command) if word == "--comment"), -2) + 2
    return " ".join(command[start:])
