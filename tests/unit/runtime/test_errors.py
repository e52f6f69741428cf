"""What is told to a user, also when nobody reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[3] / "workflow_scripts"
CODE = """
import sys
sys.path.insert(0, {library!r})
from abhinaya.runtime import errors
sys.stdin.readline()
errors.tell("nobody reads this")
sys.exit(7)
"""


@pytest.mark.parametrize("read", [True, False])
def test_a_closed_log_does_not_change_the_exit_status(read: bool) -> None:
    # An unbuffered standard error, which some machines set for all of Python, would have nothing left to write at exit.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(library=str(LIBRARY))],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered,
        text=True,
    )
    if read:
        _, told = process.communicate("go\n", timeout=20)
        assert told == "nobody reads this\n"
    else:
        process.stderr.close()
        process.stdin.write("go\n")
        process.stdin.close()
    assert process.wait(20) == 7
