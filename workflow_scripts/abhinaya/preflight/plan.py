"""The jobs that are about to run, as Snakemake plans them: what preflight has to look at.

Imported while Snakemake runs: nothing heavy here.
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
UNLIMITED = 1_000_000  # cores; a dry run would cut every job's threads down to the one core that it has by itself


@dataclass(frozen=True)
class Job:
    """One job, or several in a group that is submitted as one."""

    name: str  # a rule's, with its wildcards, or a group's
    rules: list[tuple[str, dict[str, str]]]  # each with its wildcards
    threads: int
    resources: dict[str, int | str]


@dataclass(frozen=True)
class Slurm:
    """Settings of Snakemake's SLURM plugin that decide where a job goes."""

    partitions: str | None = None  # the file with the section `partitions`
    qos: str | None = None


@dataclass(frozen=True)
class Plan:
    """The jobs, and SLURM's settings where they go to SLURM."""

    jobs: list[Job]
    slurm: Slurm | None = None

    @property
    def rules(self) -> set[str]:
        """Their names."""
        return {rule for job in self.jobs for rule, _ in job.rules}

    def wildcards(self, name: str, *rules: str) -> list[str]:
        """The different values of the wildcard `name` among the jobs of `rules`, in the order of the jobs."""
        found = [values[name] for job in self.jobs for rule, values in job.rules if rule in rules]
        return list(dict.fromkeys(found))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Plan:
    """What `Plan.write` wrote."""
    content = json.loads(path.read_text())
    slurm = content["slurm"]
    return Plan([Job(**job) for job in content["jobs"]], None if slurm is None else Slurm(**slurm))


def of(dag: Any, settings: Any) -> Plan:
    """The plan of Snakemake's graph of jobs, a `snakemake.dag.DAG`, and of its executor's settings."""
    found: dict[int, Job] = {}
    for job in dag.needrun_jobs(exclude_finished=False):
        if not job.output:  # `all`, which is never submitted
            continue
        group = dag.get_job_group(job)
        unit = group or job
        members = [(each.rule.name, dict(each.wildcards_dict)) for each in (group.jobs if group else [job])]
        name = group.name if group else " ".join([job.rule.name, *job.wildcards_dict.values()])
        resources = {key: value for key, value in unit.resources.items() if isinstance(value, int | str)}
        found[id(unit)] = Job(name, members, unit.threads, resources)
    return Plan(sorted(found.values(), key=lambda job: (job.name, str(job.rules))), _slurm(settings))


def _slurm(settings: Any) -> Slurm | None:
    if not hasattr(settings, "partition_config"):  # another executor
        return None
    return Slurm(str(settings.partition_config) if settings.partition_config else None, settings.qos or None)


def dry_run(configuration: Path, directory: Path, profile: str | None, targets: Iterable[str]) -> Plan:
    """What `snakemake --dry-run` would run; it prints nothing.

    Raises:
        UserError: Snakemake cannot plan it, and its reason.
    """
    from snakemake import cli, workflow  # in this order; the other cannot be imported first
    from snakemake.exceptions import CliException, WorkflowError
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    command = ["--snakefile", str(SNAKEFILE), "--configfile", str(configuration), "--directory", str(directory)]
    command += ["--dry-run", "--quiet", "all", "--cores", str(UNLIMITED)]
    command += ["--profile", profile] if profile else []
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            parser, options = cli.parse_args([*command, *(targets or ["all"])])
            well = cli.args_to_api(options, parser)
        except SystemExit as error:  # of the command line, or of the Snakefile, which tells what is wrong
            told = error.code if isinstance(error.code, str) else ""
            raise UserError(_reason(f"{said.getvalue()}\n{told}")) from None
        except (CliException, WorkflowError, OSError, YAMLError) as error:  # of the profile
            raise UserError(_reason(str(error))) from None
    if not well:
        raise UserError(_reason(said.getvalue()))
    settings = ExecutorPluginRegistry().get_plugin(options.executor or "local").get_settings(options)
    return of(workflow.workflow.dag, settings)  # it is left there for rules to find


def _reason(said: str) -> str:
    """Snakemake's complaint in one line."""
    lines = said.strip().splitlines()
    start = next((index for index, line in enumerate(lines) if re.search(r"(?i)error|exception", line)), -1)
    told = " ".join(" ".join(lines[start:]).split()).removeprefix("error: ")
    return f"Snakemake cannot plan the run ({told}); mend that, and see it with `snakemake --dry-run`"
