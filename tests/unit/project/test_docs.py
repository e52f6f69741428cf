"""The pages in docs/ lead somewhere: the files, functions, links and messages that they name exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
LIBRARY = ROOT / "workflow_scripts" / "abhinaya"
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}
ARCHITECTURE = PAGES[DOCS / "architecture.md"]
# `NAME` in `file`: a function, a class, a method (Class.method), a constant
PLACES = sorted(set(re.findall(r"`([\w.]+)`\s+in\s+`([\w/]+\.(?:py|smk))`", ARCHITECTURE)))
WORDS = re.findall(r"^\| ([^`|]+) \| `([\w/]+\.py)` \|$", ARCHITECTURE, flags=re.MULTILINE)
SOURCES = ("workflow_scripts/**/*.py", "rules/*.smk", "Snakefile", "envs/*.sh", "profiles/**/*.yaml", "Makefile")


def file(name: str) -> Path:
    """A file that a page names from the root or from the library's folder."""
    return next((path for path in (ROOT / name, LIBRARY / name, LIBRARY.parent / name) if path.exists()), ROOT / name)


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, methods and constants of a file; of a Snakefile its functions."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".smk":
        return set(re.findall(r"^def (\w+)", text, flags=re.MULTILINE))
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            methods = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{each.name}" for each in methods if isinstance(each, ast.FunctionDef)}
    return names


def test_the_patterns_find_what_the_pages_name() -> None:
    assert len(PLACES) > 30 and len(WORDS) > 10 and len(messages()) > 12


@pytest.mark.parametrize(("name", "path"), PLACES, ids=lambda part: part)
def test_a_place_in_the_code_exists(name: str, path: str) -> None:
    assert name in defined(file(path))


@pytest.mark.parametrize(("word", "path"), WORDS, ids=lambda part: part)
def test_a_search_for_a_term_of_the_field_finds_its_place(word: str, path: str) -> None:
    assert word.lower() in " ".join(file(path).read_text(encoding="utf-8").lower().split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"<!-- keys of.*?<!-- end -->", "", prose, flags=re.DOTALL)
    named = {word for word in re.findall(r"`([\w][\w./-]*)`", prose) if re.search(r"\.(py|smk|sh|in|csv)$", word)}
    named |= set(re.findall(r"`((?:rules|config|profiles|envs|tests|docs|examples)/[\w./+-]*)`", prose))
    named = {name for name in named if "/" in name and not name.startswith(("results/", "mine/"))}
    assert [name for name in sorted(named) if not file(name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", PAGES[page]):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor:
            titles = re.findall(r"^##* (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, link


def test_every_package_is_in_the_table() -> None:
    packages = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", ARCHITECTURE, flags=re.MULTILINE)) == packages


# --- troubleshooting.md


def messages() -> list[str]:
    """The parts of messages that the page quotes, each in a heading."""
    return re.findall(r"^### `([^`]+)`", PAGES[DOCS / "troubleshooting.md"], flags=re.MULTILINE)


@cache
def all_code() -> str:
    """Every source as one text, in which strings that go on in the next line are one."""
    texts = [path.read_text(encoding="utf-8") for pattern in SOURCES for path in sorted(ROOT.glob(pattern))]
    return " ".join(re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts)).split())


@pytest.mark.parametrize("message", messages())
def test_a_message_is_that_of_the_code(message: str) -> None:
    assert [part for part in message.split(" … ") if part not in all_code()] == []
