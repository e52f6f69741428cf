"""Snakemake on a private SLURM, and SLURM's records of its jobs."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = str(Path(__file__).with_name("slurm.sh"))
SNAKEMAKE = str(Path(__file__).with_name("impatient.py"))
PROBES = str(Path(__file__).with_name("probing.py"))
LATENCY = ("--latency-wait", "5")  # the profile waits longer, for a real cluster's file servers


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Job:
    """One job of SLURM's, as `scontrol show job` prints it."""

    fields: dict[str, str]

    def __getattr__(self, name: str) -> str:
        return self.fields[name]

    @property
    def did(self) -> str:
        """The rule with its wildcards, or the group."""
        return self.fields["Comment"].removeprefix("rule_").replace("_wildcards_", " ")


def site(checkout: Path, old: str, new: str) -> None:
    """Change the profile."""
    profile = checkout / "profiles/slurm/config.v9+.yaml"
    text = profile.read_text()
    assert text.count(old) == 1
    profile.write_text(text.replace(old, new))


class Cluster:
    """The private SLURM, and Snakemake run on it from the root of a checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(path)}
        self.runs: list[Run] = []

    def __call__(self, *command: str, cwd: Path | None = None) -> str:
        """Standard output of one of SLURM's commands."""
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(
        self,
        checkout: Path,
        *arguments: str,
        program: str = SNAKEMAKE,
        python: str = sys.executable,
        **variables: str,
    ) -> "Run":
        """`variables` are of the environment."""
        command = [python, program, "--profile", "slurm", *arguments]
        if "--configfile" not in arguments:
            command += ["--configfile", "config/test.yaml"]
        self.runs.append(Run(self, checkout, [*command, *LATENCY], variables))
        return self.runs[-1]

    def snakemake(self, checkout: Path, *arguments: str, **options: str) -> "Run":
        run = self.start(checkout, *arguments, **options)
        run.wait()
        return run


class Run:
    """A run of Snakemake on the cluster."""

    def __init__(self, cluster: Cluster, checkout: Path, command: list[str], variables: dict[str, str]) -> None:
        self.cluster = cluster
        handle, name = tempfile.mkstemp(dir=checkout, prefix="output-", suffix=".txt")
        self.output = Path(name)
        with os.fdopen(handle) as output:
            self.process = subprocess.Popen(
                command,
                cwd=checkout,
                env=cluster.environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def name(self) -> str:
        """The name that all its jobs have in SLURM."""
        return re.search(r"^SLURM run ID: (\S+)$", self.text, re.MULTILINE)[1]

    def wait(self, seconds: float = 900) -> int:
        return self.process.wait(seconds)

    def jobs(self) -> list[Job]:
        """Its jobs until now, in the order of their submission."""
        if "SLURM run ID: " not in self.text:
            return []
        lines = self.cluster("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [Job(dict(re.findall(r"(\S+?)=(\S*)", line))) for line in lines if line.startswith("JobId=")]
        return sorted((job for job in jobs if job.JobName == self.name), key=lambda job: int(job.JobId))

    def until(self, condition: Callable[[], object], seconds: float = 180) -> None:
        """Wait for something that has to happen while it runs."""
        wait_for(lambda: condition() or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.text
