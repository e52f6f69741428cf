"""Resolve the requirements of both flavours into `cpu.lock` and `gpu.lock`, each for every supported Python.

    make lock                      pins stay as they are where the requirements allow it
    make lock UPGRADE=--upgrade    newest versions that the requirements allow

A lock has one line a package, with the SHA-256 of every wheel that pip may choose on x86-64 Linux. Needs uv on PATH.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

ENVS = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13")
OLDEST = "x86_64-manylinux_2_31"  # glibc of Debian 11 and Ubuntu 20.04; decides the versions
NEWEST = "x86_64-manylinux_2_40"  # pip may choose a wheel for a newer glibc, so those are hashed, too
# torch's CPU build is another file on every index: its line has no hash, and install.sh finds the build.
TORCH_CPU = "torch", "+cpu"

Packages = dict[str, tuple[str, set[str]]]  # name to version and hashes


def resolve(flavour: str, python: str, upgrade: list[str]) -> Packages:
    """The packages of a flavour for one Python."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text((ENVS / f"{flavour}.lock").read_text())
        _compile(flavour, python, OLDEST, pins, *upgrade)
        lock = Path(folder, "pylock.toml")
        _compile(flavour, python, NEWEST, lock, "--constraint", pins, "--format", "pylock.toml")
        found = tomllib.loads(lock.read_text())["packages"]
    return {package["name"]: (package["version"], set(_hashes(package))) for package in found}


def _compile(flavour: str, python: str, platform: str, output: Path, *more: str | Path) -> None:
    # Wheels only, so that no compiler is needed; connection-pool alone is published as source, pure Python.
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--python-version", python]
    command += ["--python-platform", platform, "--only-binary", ":all:", "--no-binary", "connection-pool"]
    command += ["--no-header", "--no-annotate", "--override", ENVS / f"{flavour}.overrides.txt"]
    command += ["--output-file", output, *more, ENVS / f"{flavour}.in"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env=os.environ | {"UV_FIND_LINKS": ""})
    if done.returncode:
        sys.exit(f"error: {flavour}: no set of versions for Python {python}; see uv's message above")


def _hashes(package: dict) -> list[str]:
    files = package.get("wheels") or [package["sdist"]]
    return [file["hashes"]["sha256"] for file in files]


def merged(flavour: str, by_python: dict[str, Packages]) -> str:
    """One lock for all Pythons; a package whose version differs between them has a line with a marker for each."""
    lines = []
    for name in sorted({name for packages in by_python.values() for name in packages}):
        pythons, hashes = defaultdict(list), defaultdict(set)
        for python, packages in by_python.items():
            if name in packages:
                version, files = packages[name]
                pythons[version].append(python)
                hashes[version] |= files
        for version, those in pythons.items():
            marker = "" if those == list(by_python) else f" ; {' or '.join(map(_is, those))}"
            if flavour == "cpu" and name == TORCH_CPU[0]:
                lines.append(f"{name}=={version}{TORCH_CPU[1]}")
            else:
                lines.append(" \\\n    --hash=sha256:".join([f"{name}=={version}{marker}", *sorted(hashes[version])]))
    return "\n".join(lines) + "\n"


def _is(python: str) -> str:
    return f'python_version == "{python}"'


def main() -> None:
    for flavour in ("cpu", "gpu"):
        text = merged(flavour, {python: resolve(flavour, python, sys.argv[1:]) for python in PYTHONS})
        new = ENVS / f"{flavour}.lock.new"
        new.write_text(text)
        new.replace(ENVS / f"{flavour}.lock")


if __name__ == "__main__":
    main()
