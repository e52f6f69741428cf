"""Running the workflow in a folder of a test's own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST_CONFIG = ROOT / "config" / "test.yaml"


def snakemake(directory: Path, *arguments: str, configfile: Path = TEST_CONFIG) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
    if "--snakefile" not in arguments:
        command += ["--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(directory), "--configfile", str(configfile)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
