"""The library as a package: pyproject.toml declares what it imports, and the wheel holds all its files."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import abhinaya

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "workflow_scripts" / "abhinaya"
MODULES = {
    ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in LIBRARY.rglob("*.py")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = {found.name: found for found in map(Requirement, PROJECT["dependencies"])}
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
# No extra can have them: see `test_whisperx_fits_no_extra`.
TRANSCRIPTION = {"whisperx", "faster-whisper", "ctranslate2"}
LOCKS_ONLY = TRANSCRIPTION | {"av"}  # av comes with faster-whisper
# Dependencies that no module imports, and for whom they are.
BEHIND = {
    "aiohttp": "openai, for its client with aiohttp",
    "protobuf": "transformers, for SentencePiece models",
    "sentencepiece": "transformers, for SentencePiece models",
}
# What modules need beyond the dependencies: an extra, or an environment from a lock.
NEEDING_MORE = {
    "abhinaya.transcription.inputs": {"faster-whisper", "whisperx"},
    "abhinaya.transcription.shards": TRANSCRIPTION,
    "abhinaya.transcription.whisperx": TRANSCRIPTION,
    "abhinaya.preflight.hook": {"snakemake"},
    "abhinaya.runtime.snakemake_sigterm": {"snakemake"},
}


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Dotted names that the import statements among `nodes` name: modules, and what is taken from them."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports only"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: not functions, nor what is only for type checkers."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not for_types and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


providers = cache(importlib.metadata.packages_distributions)  # top-level module to packages; takes a while


def distributions(names: Iterable[str]) -> set[str]:
    """The packages of an index that the modules among the dotted `names` come from."""
    tops = {name.split(".")[0] for name in names} - {"abhinaya"} - set(sys.stdlib_module_names)
    found = {top: {canonicalize_name(name).removesuffix("-cpu") for name in providers()[top]} for top in tops}
    # Where several share a name (namespaces, the two builds of vLLM), the one that is declared.
    known = BASE.keys() | {extra.name for extra in EXTRAS} | LOCKS_ONLY
    return {min(several & known or several) for several in found.values()}


def parents(module: str) -> set[str]:
    """The packages that are imported before `module`."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


def locked_torch() -> set[str]:
    """torch is no line of the requirements: vLLM's builds, or an override, choose it."""
    locks = [(ROOT / "envs" / f"{flavour}.lock").read_text(encoding="utf-8") for flavour in ("cpu", "gpu")]
    return {version for lock in locks for version in re.findall(r"^torch==([\d.]+)", lock, flags=re.MULTILINE)}


def pins() -> dict[str, set[str]]:
    """Package to the versions that the locked environments ask for."""
    found = {"torch": locked_torch()}
    for name in ("requirements.in", "cpu.in", "gpu.in"):
        for line in (ROOT / "envs" / name).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r ")):
                requirement = Requirement(line)
                found.setdefault(requirement.name, set()).add(str(requirement.specifier).removeprefix("=="))
    return found


# --- what it declares


def test_every_import_of_the_library_is_declared() -> None:
    declared = BASE.keys() | {extra.name for extra in EXTRAS} | LOCKS_ONLY
    undeclared = {
        module: missing
        for module, tree in MODULES.items()
        if (missing := distributions(imported(ast.walk(tree))) - declared)
    }
    assert undeclared == {}, "add them to pyproject.toml: dependencies, or an extra"


def test_every_dependency_is_imported() -> None:
    used = distributions(name for tree in MODULES.values() for name in imported(ast.walk(tree)))
    assert BASE.keys() - used == BEHIND.keys()


def test_modules_without_an_extra_import_dependencies_alone() -> None:
    needs, own = {}, {}
    for module, tree in MODULES.items():
        names = imported(at_import(tree))
        needs[module] = distributions(names) - BASE.keys()
        own[module] = {*names, *parents(module), *(parent for name in names for parent in parents(name))}
    for _ in MODULES:  # as many steps as the longest chain of imports can have
        needs = {m: needs[m].union(*(needs[other] for other in own[m] & needs.keys())) for m in needs}
    assert {module: more for module, more in needs.items() if more} == NEEDING_MORE


def test_its_ranges_admit_what_is_locked() -> None:
    locked = pins()
    outside = {
        str(requirement): sorted(locked.get(requirement.name, []))
        for requirement in [*BASE.values(), *EXTRAS]
        if not locked.get(requirement.name) or not all(map(requirement.specifier.contains, locked[requirement.name]))
    }
    assert outside == {}, "each needs a version in envs/*.in that its range admits"


def test_whisperx_fits_no_extra() -> None:
    """Once this fails, pyproject.toml can offer an extra for transcription."""
    required = {found.name: found for found in map(Requirement, importlib.metadata.requires("whisperx"))}
    versions = {name: min(pins()[name]) for name in ("huggingface-hub", "torch")}
    assert all(BASE[name].specifier.contains(version) for name, version in versions.items())
    assert not any(required[name].specifier.contains(version) for name, version in versions.items())


def test_the_version_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert citation["version"] == released[0] == abhinaya.__version__
    assert citation["license"] == PROJECT["license"]


# --- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What pip builds, without an index."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        shutil.copy(ROOT / name, source)
    scripts = LIBRARY.parent.relative_to(ROOT)
    shutil.copytree(ROOT / scripts, source / scripts, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", "wheels", ".")
    done = subprocess.run([sys.executable, *command], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (source / "wheels").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path for path in LIBRARY.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert found == {str(path.relative_to(LIBRARY.parent)) for path in files}


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("abhinaya", abhinaya.__version__)
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", "<3.14,>=3.11")
    assert {Requirement(line).name for line in metadata.get_all("Requires-Dist") if "extra ==" not in line} == set(BASE)
    for name in PROJECT["license-files"]:
        assert wheel.read(f"{folder}/licenses/{name}") == (ROOT / name).read_bytes()
