"""The check of the C compiler and of Python's header files; the compiler is real."""

import shutil
from pathlib import Path

import pytest

from abhinaya.preflight import compiler, packages
from abhinaya.runtime.errors import UserError

BROKEN = "#!/bin/sh\necho broken >&2\nexit 1\n"


@pytest.fixture(autouse=True)
def no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)


def test_an_extension_is_compiled_and_loaded() -> None:
    assert compiler.check().endswith("/Python.h")


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^no C compiler; install gcc"):
        compiler.check()


def test_no_header_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(UserError, match=rf"^no Python\.h in {tmp_path}; install python3-dev"):
        compiler.check()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text(BROKEN)
    broken.chmod(0o755)
    for choice, words in (
        (broken, "failed: broken"),
        (shutil.which("false"), "failed: exit status 1"),
        ("cc9", "No such"),
    ):
        monkeypatch.setenv("CC", str(choice))
        with pytest.raises(UserError, match=f"^C compiler {choice}:? {words}"):
            compiler.check()


def test_vllm_on_gpus_needs_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_for_gpus", lambda: True)
    assert packages.vllm(on_gpus=True).endswith("/Python.h")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^no C compiler"):
        packages.vllm(on_gpus=True)
