"""Between Snakemake and a cluster: preflight first, and nothing is submitted while it finds something wrong.

Imported while Snakemake runs: nothing heavy here; preflight itself is a process of its own.
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


def pass_or_stop(workflow: Any, configuration: dict) -> None:
    """Run preflight on the jobs that `workflow` (a `snakemake.workflow.Workflow`) is about to submit.

    Jobs of an earlier run are looked for even without preflight: Snakemake has locked the folder by now, so whatever
    still works there has lost its Snakemake. In a submitted job, which is a Snakemake, too, nothing is done.

    Raises:
        WorkflowError: it found something wrong, which it has told by then; jobs of an earlier run.
    """
    if not workflow.is_main_process:
        return
    try:
        slurm.orphans(Path.cwd())
    except UserError as error:
        raise WorkflowError(str(error)) from None
    if os.environ.get(VARIABLE) == "off":
        return
    with tempfile.TemporaryDirectory() as folder:
        jobs, config = Path(folder, "jobs.json"), Path(folder, "config.yaml")
        plan.of(workflow.dag, workflow.executor_settings).write(jobs)
        config.write_text(yaml.safe_dump(configuration, sort_keys=False))
        done = subprocess.run([_python(workflow), SCRIPT, "--config", config, "--jobs", jobs], stdout=sys.stderr)
    if done.returncode:
        raise WorkflowError(
            f"preflight failed, so no job was submitted; mend what it names above, or set {VARIABLE}=off"
        )


def _python(workflow: Any) -> str:
    """The interpreter that the jobs will have."""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        for job in workflow.dag.needrun_jobs():
            if job.conda_env:
                return f"{job.conda_env.address}/bin/python"
    return sys.executable
