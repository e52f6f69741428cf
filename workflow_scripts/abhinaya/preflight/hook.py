"""Runs preflight before Snakemake submits jobs to a cluster; on errors nothing is submitted.

Imported by Snakemake itself, so it imports nothing slow; preflight runs in a separate process.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from abhinaya.preflight import plan, slurm
from abhinaya.runtime.errors import UserError

SCRIPT = Path(__file__).parents[2] / "preflight.py"
VARIABLE = "ABHINAYA_PREFLIGHT"  # off: no preflight


def is_off() -> bool:
    """Whether the user has switched off preflight, and with it the check of a GPU node."""
    return os.environ.get(VARIABLE) == "off"


def run_or_stop(workflow: Any, configuration: dict) -> None:
    """Run preflight on the jobs that `workflow` (a `snakemake.workflow.Workflow`) is about to submit.

    Always checks for jobs of an earlier run: Snakemake has locked the folder, so jobs still running there are orphans.
    Does nothing in submitted jobs, which run Snakemake, too.

    Raises:
        WorkflowError: preflight failed, or jobs of an earlier run are still running.
    """
    if not workflow.is_main_process:
        return
    try:
        slurm.orphans(Path.cwd())
    except UserError as error:
        raise WorkflowError(str(error)) from None
    if is_off():
        return
    with tempfile.TemporaryDirectory() as folder:
        jobs, config = Path(folder, "jobs.json"), Path(folder, "config.yaml")
        plan.of(workflow.dag, workflow.executor_settings).write(jobs)
        config.write_text(yaml.safe_dump(configuration, sort_keys=False))
        done = subprocess.run([_python(workflow), SCRIPT, "--config", config, "--jobs", jobs], stdout=sys.stderr)
    if done.returncode:
        raise WorkflowError(f"preflight failed, no job was submitted; fix the errors above, or set {VARIABLE}=off")


def _python(workflow: Any) -> str:
    """The Python interpreter of the jobs."""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        for job in workflow.dag.needrun_jobs():
            if job.conda_env:
                return f"{job.conda_env.address}/bin/python"
    return sys.executable
