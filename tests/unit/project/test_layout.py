"""The packages of the library depend on each other in one direction."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

LIBRARY = Path(__file__).parents[3] / "workflow_scripts" / "abhinaya"
# What each package may import, besides itself.
IMPORTS = {
    "labels": set(),
    "runtime": set(),
    "config": {"labels", "runtime"},
    "pretrained": {"runtime"},
    "data": {"config", "labels", "runtime"},
    "transcription": {"config", "data", "pretrained", "runtime"},
    "modeling": {"config", "data", "labels", "pretrained", "runtime"},
    "evaluation": {"config", "data", "labels", "runtime"},
    "training": {"config", "data", "labels", "modeling", "pretrained", "runtime", "transcription"},
    "zero_shot": {"config", "data", "labels", "modeling", "pretrained", "runtime"},
    "reporting": {"data", "evaluation", "labels", "runtime"},
    "prediction": {
        "config",
        "data",
        "evaluation",
        "labels",
        "modeling",
        "pretrained",
        "runtime",
        "transcription",
        "zero_shot",
    },
    "commands": {"config", "data", "labels", "runtime"},
    "preflight": {"config", "data", "labels", "modeling", "pretrained", "runtime", "transcription", "zero_shot"},
}


def modules() -> dict[str, Path]:
    """Dotted name below `abhinaya` -> file."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of the library that `path` imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "abhinaya":
            base = node.module.removeprefix("abhinaya").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                found.add(full if full in known else base)
    return found - {""}


def test_packages_import_in_one_direction() -> None:
    known = modules()
    used: dict[str, set[str]] = {name: set() for name in IMPORTS}
    for name, path in known.items():
        if name:
            used[name.split(".")[0]] |= {other.split(".")[0] for other in imported(path, set(known))}
    forbidden = {package: others - IMPORTS[package] - {package} for package, others in used.items()}
    assert {package: others for package, others in forbidden.items() if others} == {}
    list(TopologicalSorter(IMPORTS).static_order())  # raises CycleError


def test_no_module_imports_itself_in_a_circle() -> None:
    known = modules()
    # A submodule may import from its package's `__init__`, and an `__init__` its submodules: Python allows for that.
    graph = {name: imported(path, set(known)) - {name} for name, path in known.items()}
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    list(TopologicalSorter({name: others - packages for name, others in graph.items()}).static_order())


def test_every_package_says_what_it_is_for() -> None:
    for package in IMPORTS.keys() - {"labels"}:
        assert ast.get_docstring(ast.parse((LIBRARY / package / "__init__.py").read_text(encoding="utf-8"))), package
