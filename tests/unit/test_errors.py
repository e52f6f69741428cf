"""What is told to a user, also when nobody reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "workflow_scripts"
CODE = """
import sys, warnings
sys.path.insert(0, {library!r})
from abhinaya import errors
sys.stdin.readline()
warnings.warn("a library's, which nobody reads either")
for _ in range(3):
    errors.tell("nobody reads this")
sys.exit(7)
"""


@pytest.mark.parametrize("read", [True, False])
def test_a_closed_log_does_not_change_the_exit_status(read: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(library=str(LIBRARY))],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not read:
        process.stderr.close()
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.wait(20) == 7
    else:
        _, told = process.communicate("go\n", timeout=20)
        assert told.count("nobody reads this") == 3 and process.returncode == 7
