"""Which package of the GPU lock has each CUDA library that another package loads: `gpu.libraries.csv`.

    make env FLAVOUR=gpu && .venv-gpu/bin/python envs/libraries.py     after a change of gpu.lock

A package may link a library or open it by name when it first needs it; pip knows of neither. This lists every name of a
CUDA library with a version, such as `libcublas.so.12`, in the compiled files of all installed packages, and the package
that has this library. Names that a program composes ("libcudnn_ops.so." and a number) are not found. Libraries other
than CUDA's come inside the wheels or, as those of glibc, from the system.
"""

import csv
import mmap
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("gpu.libraries.csv")
LOCK = TABLE.with_name("gpu.lock")
LIBRARY = re.compile(rb"(?:.*[^\w+.-])?(lib(?:cu|nv|nccl)[\w+-]*\.so(?:\.\d+)+)", re.DOTALL)
LONGEST = 80  # bytes of a name
# Libraries of NVIDIA's driver. torch.cuda needs the first two; the others are for graphics, video and profilers.
DRIVER = re.compile(r"libcuda\.so\.1|libnvidia-ml\.so\.1|libnvidia-[\w-]+\.so\.1|libnv(cuvid|optix)\.so\.1")
# Libraries of another CUDA than torch's, 13.
OTHER_BUILDS = "bitsandbytes has a build for each CUDA and opens that of torch"
EITHER = "cuDNN's frontend opens that of CUDA 12 or 13"
UNUSED = {
    ("bitsandbytes", "libcublas.so.11"): OTHER_BUILDS,
    ("bitsandbytes", "libcublasLt.so.11"): OTHER_BUILDS,
    ("bitsandbytes", "libcudart.so.11.0"): OTHER_BUILDS,
    ("bitsandbytes", "libcudart.so.12"): OTHER_BUILDS,
    ("nvidia-cudnn-frontend", "libcudart.so.12"): EITHER,
}


class Row(NamedTuple):
    """A library, the package that loads it, and where it is: a package, `driver`, or `unused: ` and the reason."""

    library: str
    package: str
    version: str  # of `package`
    source: str


def scan(packages: Iterable[Distribution]) -> list[Row]:
    """A row for each CUDA library that a package loads and does not have itself.

    Raises:
        SystemExit: a library is in no package, and not known to be elsewhere.
    """
    versions, wanted, had = {}, {}, {}
    for package in packages:
        name = package.metadata["Name"].lower().replace("_", "-")
        files = [Path(package.locate_file(file)) for file in package.files or () if ".so" in file.name]
        versions[name], had[name] = package.version, {_plain(file.name) for file in files}
        wanted[name] = {_plain(library) for file in files for library in named(file)}
    rows = []
    for name, libraries in sorted(wanted.items()):
        for library in sorted(libraries):
            if not _has(had[name], library):
                rows.append(Row(library, name, versions[name], _source(library, name, had)))
    return sorted(rows)


def named(file: Path) -> Iterator[str]:
    """The CUDA libraries whose names with a version are in a compiled file."""
    with file.open("rb") as opened:
        if opened.read(4) != b"\x7fELF":
            return
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        at = content.find(b".so.")
        while at >= 0:
            end = content.find(b"\0", at)
            if 0 < end - at < LONGEST and (match := LIBRARY.fullmatch(content[max(0, at - LONGEST) : end])):
                yield match[1].decode()
            at = content.find(b".so.", at + 1)


def unmet(rows: Iterable[Row], locked: Mapping[str, str]) -> list[Row]:
    """The rows whose library is in no package of `locked` (name to version)."""
    elsewhere = ("driver", "unused: ")
    return [row for row in rows if row.source not in locked and not row.source.startswith(elsewhere)]


def read() -> list[Row]:
    with TABLE.open(newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def _source(library: str, package: str, had: Mapping[str, set[str]]) -> str:
    for other, files in sorted(had.items()):
        if library in files:
            return other
    if DRIVER.fullmatch(library):
        return "driver"
    if (package, library) in UNUSED:
        return f"unused: {UNUSED[package, library]}"
    sys.exit(
        f"error: {package} loads {library}, which no package of {LOCK.name} has; add one to envs/gpu.in, "
        f"or if the library comes from elsewhere, say so in {Path(__file__).name}"
    )


def _has(files: set[str], library: str) -> bool:
    """Whether the library is among a package's own files, which may have a longer version in their names, or none."""
    unversioned = f"{library.partition('.so')[0]}.so"
    return unversioned in files or any(f"{file}.".startswith(f"{library}.") for file in files)


def _plain(file: str) -> str:
    """The name of a library without the digest that auditwheel adds."""
    return re.sub(r"[-.][0-9a-f]{8}(?=\.so)", "", file)


def main() -> None:
    rows = scan(distributions())
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
