"""One job at a time, in whatever process; what cannot be locked is told."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.runtime import locks
from abhinaya.runtime.errors import UserError

HOLDER = """
import sys
from pathlib import Path
from abhinaya.runtime import locks
with locks.alone(Path(sys.argv[1]), "held"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_job_is_told_until_the_first_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / ".lock"
    environment = os.environ | {"PYTHONPATH": str(Path(locks.__file__).parents[2])}
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError) as told, locks.alone(lock, "another job works here; wait"):
            pass
        assert str(told.value) == f"{lock.parent}: another job works here; wait"
        other.kill()  # the lock ends with its holder, however it ends
    with locks.alone(lock, "another job works here; wait"):
        pass


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with pytest.raises(KeyboardInterrupt), locks.alone(lock, "held"):
        with pytest.raises(UserError, match="held"), locks.alone(lock, "held"):
            pass
        raise KeyboardInterrupt
    with locks.alone(lock, "held"):
        assert lock.is_file()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_only_warns(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.alone(tmp_path / ".lock", "held"):
        pass
    assert f"no lock ({os.strerror(number)})" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock, told = tmp_path / "file" / ".lock", r"cannot be written \(.+\); give another path"
    with pytest.raises(UserError, match=told), locks.alone(lock, "held"):
        pass
