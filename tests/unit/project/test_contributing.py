"""CONTRIBUTING.md leads somewhere: its files, the names in them, its commands and its extras exist."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
# `NAME` in `file`, `NAME` and `NAME` in `file`
PLACES = re.findall(r"((?:`\w+`(?: and )?)+) in\s`(\S+\.py)`", PROSE)


def defined(file: str) -> set[str]:
    """The names of functions, classes and constants at the top level of a module."""
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("names, file", PLACES, ids=lambda part: part.replace("`", ""))
def test_a_place_in_the_code_exists(names: str, file: str) -> None:
    assert set(re.findall(r"\w+", names)) - {"and"} <= defined(file)


def test_its_files_exist() -> None:
    paths = {word for word in re.findall(r"`([\w./-]+)`", PROSE) if "/" in word or word.endswith((".md", ".toml"))}
    paths |= set(re.findall(r"\]\(([^)]+)\)", PROSE))
    assert len(PLACES) > 10 and len(paths) > 20  # else the patterns miss them
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_its_commands_exist() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    clone, *commands, last = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert clone[:2] == ["git", "clone"] and len(commands) == 3  # five lines, as it says
    assert commands[1:] == [
        [".", ".venv/bin/activate"],
        ["python", "-m", "pytest", "tests/unit/modeling/test_losses.py"],
    ]
    named = {*commands[0][1:], *last[1:], *re.findall(r"`make ([a-z-]+)`", PROSE)}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {commands[0][0], last[0]} == {"make"} and named <= set(targets)


def test_it_lists_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE) == list(project["optional-dependencies"])
