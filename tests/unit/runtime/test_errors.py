"""Printing messages to the user."""

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
errors.print_line("a message")
sys.exit(7)
"""


@pytest.mark.parametrize("read", [True, False])
def test_closed_standard_error_does_not_change_the_exit_status(read: bool) -> None:
    # PYTHONUNBUFFERED, which some machines set, would leave nothing to flush at exit.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(library=str(LIBRARY))],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered,
        text=True,
    )
    if read:
        _, printed = process.communicate("go\n", timeout=20)
        assert printed == "a message\n"
    else:
        process.stderr.close()
        process.stdin.write("go\n")
        process.stdin.close()
    assert process.wait(20) == 7
