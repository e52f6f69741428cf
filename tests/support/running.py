"""Running the workflow, or only a training, in the folder of a test."""

import os
import signal
import subprocess
from pathlib import Path

from support import preloaded

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "workflow_scripts" / "train.py"
TEST_CONFIG = ROOT / "config" / "test.yaml"
KILLED = Path(__file__).with_name("killed.py")


def snakemake(directory: Path, *arguments: str, configfile: Path = TEST_CONFIG) -> subprocess.CompletedProcess:
    """Run the workflow in `directory`; the jobs' `python` has the slow imports done."""
    command = [str(preloaded.python()), "-m", "snakemake", *arguments, "--cores", "2"]
    if "--snakefile" not in arguments:
        command += ["--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(directory), "--configfile", str(configfile)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | preloaded.path())


def python(script: Path, *arguments: str | Path | int, processes: int = 1) -> subprocess.CompletedProcess:
    """Run `script`, in several processes by torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [preloaded.python(), *(torchrun if processes > 1 else []), script, *arguments]
    launched = {"ABHINAYA_LAUNCHED": "1"} if processes > 1 else {}  # as of the project's own launcher
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | launched)


def train_killed(*arguments: str, epochs: int) -> None:
    """Run train.py, which is killed after so many epochs."""
    killed = python(KILLED, epochs, *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def planned(run: subprocess.CompletedProcess) -> dict[str, int]:
    """The number of jobs of each rule, from the table that Snakemake prints before a run or a dry run."""
    assert run.returncode == 0, run.stdout + run.stderr
    text = run.stdout + run.stderr
    if "Nothing to be done" in text:
        return {}
    lines = text.split("Job stats:")[-1].split("\n\n")[0].splitlines()[3:]
    return {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}
