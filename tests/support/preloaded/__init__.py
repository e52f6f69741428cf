"""A `python` for whole runs in tests: its processes start with the slow imports done.

A job that loads a model needs seconds of CPU time for imports, and the tests run many such jobs. Here a server imports
the libraries once. Each `python SCRIPT.py …` of a job, and Snakemake itself, is then a fork of the server: a process of
its own, with its own folder, environment, arguments and standard streams. So are the scripts that it starts itself.
The server imports none of this project's modules. Other uses of Python, and jobs whose environment differs in a
variable that is read at import, run in the ordinary interpreter.

What differs from a fresh interpreter: hash seed and order of imports are the server's, and it is no descendant of its
caller. Tests of signals, and tests on the private SLURM of what ends a job, use the ordinary interpreter.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
ENVIRONMENT = dict(os.environ)  # before a test changes it


@cache
def python() -> Path:
    """The path of this `python`, in a folder of its own; starts the server, which ends with this process."""
    temporary = tempfile.TemporaryDirectory(prefix="python-")
    folder = Path(temporary.name)
    client = folder / "bin" / "python"
    client.parent.mkdir()
    client.write_text(f"#!{sys.executable} -IS\n{(FOLDER / 'client.py').read_text()}")
    client.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, str(FOLDER / "server.py"), str(folder / "socket")],
        stdin=subprocess.PIPE,  # it ends when this pipe closes
        stdout=subprocess.PIPE,
        env={name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"},
    )
    atexit.register(temporary.cleanup)
    atexit.register(server.kill)
    assert server.stdout.readline() == b"ready\n"
    return client


def path() -> dict[str, str]:
    """The environment variable `PATH` in which `python` is this one."""
    return {"PATH": f"{python().parent}{os.pathsep}{os.environ['PATH']}"}
