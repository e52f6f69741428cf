"""Printing messages to the user."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.runtime import errors

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


def test_a_full_disk_is_one_line() -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.bin")

    with pytest.raises(SystemExit, match=r"^error: /data/x\.bin: disk full"):
        errors.run(fill)


def test_characters_that_the_output_lacks_are_escaped() -> None:
    code = "from abhinaya.runtime import errors; errors.run(lambda: print('1\\u20132 \\xe9'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(errors.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "1\\u20132 \\xe9\n"), done.stderr
