"""Every CUDA library that a package of the GPU environment loads is in its lock (`envs/libraries.py`)."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ENVS = Path(__file__).parents[3] / "envs"
IN_GPU_ENVIRONMENT = any(found.name == "vllm" for found in importlib.metadata.distributions())


@pytest.fixture(scope="module")
def libraries() -> ModuleType:
    spec = importlib.util.spec_from_file_location("libraries", ENVS / "libraries.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ENVS / "gpu.lock").read_text(), re.MULTILINE))


def test_every_library_is_in_the_lock(libraries: ModuleType, locked: dict[str, str]) -> None:
    rows = libraries.read()
    assert {row.library for row in rows} >= {"libcuda.so.1", "libcublas.so.12", "libcublas.so.13"}
    assert libraries.unmet(rows, locked) == []


def test_table_is_of_the_locked_versions(libraries: ModuleType, locked: dict[str, str]) -> None:
    of_others = {row.package for row in libraries.read() if locked.get(row.package) != row.version}
    assert of_others == set(), "run `make env FLAVOUR=gpu && .venv-gpu/bin/python envs/libraries.py`"


@pytest.mark.parametrize(
    ("left_out", "package", "library"),
    [
        ("nvidia-cublas-cu12", "ctranslate2", "libcublas.so.12"),
        ("nvidia-cuda-nvrtc-cu12", "nvidia-cublas-cu12", "libnvrtc.so.12"),
        ("nvidia-nccl-cu13", "torch", "libnccl.so.2"),
    ],
)
def test_lock_without_a_library_is_reported(
    left_out: str, package: str, library: str, libraries: ModuleType, locked: dict[str, str]
) -> None:
    without = {name: version for name, version in locked.items() if name != left_out}
    assert (library, package) in {(row.library, row.package) for row in libraries.unmet(libraries.read(), without)}


@pytest.mark.slow
@pytest.mark.skipif(not IN_GPU_ENVIRONMENT, reason="only the GPU environment has the files that are read")
def test_table_is_of_the_installed_packages(libraries: ModuleType) -> None:
    assert libraries.read() == libraries.scan(importlib.metadata.distributions())


# --- reading compiled files


def installed(folder: Path, name: str, **files: bytes) -> importlib.metadata.Distribution:
    """A package with compiled files; `__` in a name stands for a dot."""
    described = folder / f"{name}-1.0.dist-info"
    described.mkdir()
    paths = {file.replace("__", "."): content for file, content in files.items()}
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (described / "RECORD").write_text("".join(f"{path},,\n" for path in paths))
    for path, content in paths.items():
        (folder / path).write_bytes(content)
    return importlib.metadata.PathDistribution(described)


ELF = b"\x7fELF"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (ELF + b"..\0libcublas.so.12\0..", ["libcublas.so.12"]),
        (ELF + b"\0libcudart.so.11.0\0libnccl.so.2\0", ["libcudart.so.11.0", "libnccl.so.2"]),
        (ELF + b"\0/usr/lib/libnvrtc.so.13\0", ["libnvrtc.so.13"]),
        (ELF + b"\0libcublas.so.12", []),  # no end
        (ELF + b"\0libcudnn.so.%d\0libcuda.so\0libm.so.6\0mylibcuda.so.1\0", []),
        (b"\0libcublas.so.12\0", []),  # not compiled
        (b"", []),
    ],
)
def test_names_of_cuda_libraries_are_found(
    content: bytes, found: list[str], libraries: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "some.so"
    file.write_bytes(content)
    assert list(libraries.named(file)) == found


def test_installed_ctranslate2_opens_cublas_12(libraries: ModuleType) -> None:
    package = importlib.metadata.distribution("ctranslate2")
    files = [Path(package.locate_file(file)) for file in package.files if ".so" in file.name]
    assert "libcublas.so.12" in {name for file in files for name in libraries.named(file)}


def test_source_of_each_library_is_found(libraries: ModuleType, tmp_path: Path) -> None:
    packages = [
        installed(tmp_path, "opener", a__so=ELF + b"\0libcublas.so.12\0libcuda.so.1\0"),
        installed(tmp_path, "nvidia_cublas_cu12", libcublas__so__12=ELF + b"\0libcublas.so.12\0"),
        installed(tmp_path, "own", **{"libcudart-0123abcd__so__12__3__101": ELF + b"\0libcudart.so.12\0"}),
        installed(tmp_path, "plain", libnccl_ep__so=ELF + b"\0libnccl_ep.so.0\0"),
    ]
    assert libraries.scan(packages) == [
        ("libcublas.so.12", "opener", "1.0", "nvidia-cublas-cu12"),
        ("libcuda.so.1", "opener", "1.0", "driver"),
    ]


def test_missing_library_is_reported(libraries: ModuleType, tmp_path: Path) -> None:
    packages = [installed(tmp_path, "opener", a__so=ELF + b"\0libcublas.so.12\0")]
    with pytest.raises(SystemExit, match=r"opener loads libcublas\.so\.12, which no package .*envs/gpu\.in"):
        libraries.scan(packages)
