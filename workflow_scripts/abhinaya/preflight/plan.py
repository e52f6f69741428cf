"""The jobs planned by Snakemake, which preflight checks.

Imported by Snakemake itself, so it imports nothing slow.
"""

import io
import json
import re
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yaml import YAMLError

from abhinaya.runtime.errors import UserError

SNAKEFILE = Path(__file__).parents[3] / "Snakefile"
UNLIMITED = 1_000_000  # cores; else a dry run would limit every job to one core


@dataclass(frozen=True)
class Job:
    """A job, or a group of jobs that is submitted as one."""

    name: str  # of the rule with its wildcards, or of the group
    rules: list[tuple[str, dict[str, str]]]  # (rule, wildcards)
    threads: int
    resources: dict[str, int | str]


@dataclass(frozen=True)
class Slurm:
    """Settings of Snakemake's SLURM plugin that every sbatch command depends on."""

    partitions: str | None = None  # the file with the section `partitions`
    qos: str | None = None
    reservation: str | None = None
    requeue: bool = False
    no_requeue: bool = False


@dataclass(frozen=True)
class Plan:
    """The planned jobs, and the SLURM settings if SLURM is used."""

    jobs: list[Job]
    slurm: Slurm | None = None

    @property
    def rules(self) -> set[str]:
        """The names of the rules."""
        return {rule for job in self.jobs for rule, _ in job.rules}

    def wildcards(self, name: str, *rules: str) -> list[str]:
        """The distinct values of the wildcard `name` in the jobs of `rules`, in order."""
        values = [values[name] for job in self.jobs for rule, values in job.rules if rule in rules]
        return list(dict.fromkeys(values))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Plan:
    """Read a plan written by `Plan.write`."""
    content = json.loads(path.read_text())
    slurm = content["slurm"]
    return Plan([Job(**job) for job in content["jobs"]], None if slurm is None else Slurm(**slurm))


def of(dag: Any, settings: Any) -> Plan:
    """The plan from Snakemake's DAG (`snakemake.dag.DAG`) and its executor's settings."""
    jobs: dict[int, Job] = {}
    for job in dag.needrun_jobs(exclude_finished=False):
        if not job.output:  # `all`, which is never submitted
            continue
        group = dag.get_job_group(job)
        unit = group or job
        members = [(each.rule.name, dict(each.wildcards_dict)) for each in (group.jobs if group else [job])]
        name = group.name if group else " ".join([job.rule.name, *job.wildcards_dict.values()])
        resources = {key: value for key, value in unit.resources.items() if isinstance(value, int | str)}
        jobs[id(unit)] = Job(name, members, unit.threads, resources)
    return Plan(sorted(jobs.values(), key=lambda job: (job.name, str(job.rules))), _slurm(settings))


def _slurm(settings: Any) -> Slurm | None:
    if not hasattr(settings, "partition_config"):  # another executor
        return None
    return Slurm(
        str(settings.partition_config) if settings.partition_config else None,
        settings.qos or None,
        settings.reservation or None,
        settings.requeue,
        settings.no_requeue,
    )


def dry_run(configuration: Path, directory: Path, profile: str | None, targets: Iterable[str]) -> Plan:
    """The plan of `snakemake --dry-run`, without its output.

    Raises:
        UserError: the dry run failed.
    """
    from snakemake import cli, workflow  # the order of imports matters
    from snakemake.exceptions import CliException, WorkflowError
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    command = ["--snakefile", str(SNAKEFILE), "--configfile", str(configuration), "--directory", str(directory)]
    command += ["--dry-run", "--quiet", "all", "--cores", str(UNLIMITED)]
    command += ["--profile", profile] if profile else []
    output = io.StringIO()
    with redirect_stderr(output), redirect_stdout(output):
        try:
            parser, options = cli.parse_args([*command, *(targets or ["all"])])
            succeeded = cli.args_to_api(options, parser)
        except SystemExit as error:  # from the command line or the Snakefile, with a message
            message = error.code if isinstance(error.code, str) else ""
            raise UserError(_reason(f"{output.getvalue()}\n{message}")) from None
        except (CliException, WorkflowError, OSError, YAMLError) as error:  # from the profile
            raise UserError(_reason(str(error))) from None
    if not succeeded:
        raise UserError(_reason(output.getvalue()))
    settings = ExecutorPluginRegistry().get_plugin(options.executor or "local").get_settings(options)
    return of(workflow.workflow.dag, settings)  # Snakemake keeps it in this global


def _reason(output: str) -> str:
    """Snakemake's error in one line."""
    lines = output.strip().splitlines()
    start = next((index for index, line in enumerate(lines) if re.search(r"(?i)error|exception", line)), -1)
    message = " ".join(" ".join(lines[start:]).split()).removeprefix("error: ")
    return f"Snakemake's dry run failed ({message}); fix it, and check with `snakemake --dry-run`"
