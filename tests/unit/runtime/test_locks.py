"""A lock admits one process; file systems without locks cause a warning."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.runtime import locks
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

HOLDER = """
import sys
from pathlib import Path
from abhinaya.runtime import locks
with locks.alone(Path(sys.argv[1]), "held"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_job_fails_until_the_first_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / ".lock"
    environment = os.environ | {"PYTHONPATH": str(Path(locks.__file__).parents[2])}
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError) as caught, locks.alone(lock, "held by another job"):
            pass
        assert_names(str(caught.value), f"{lock.parent}: held by another job", f"{other.pid} on", f"kill {other.pid}")
        other.kill()  # the lock ends with its process
    with locks.alone(lock, "held by another job"):
        pass


def test_lock_ends_with_its_block(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with pytest.raises(KeyboardInterrupt), locks.alone(lock, "held"):
        with pytest.raises(UserError, match="held"), locks.alone(lock, "held"):
            pass
        raise KeyboardInterrupt
    with locks.alone(lock, "held"):
        assert lock.is_file()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_causes_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.alone(tmp_path / ".lock", "held"):
        pass
    assert f"no lock ({os.strerror(number)})" in capsys.readouterr().err


def test_unwritable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locks.alone(tmp_path / "file" / ".lock", "held"):
        pass
