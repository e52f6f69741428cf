"""The files of the paper's tables: CSV, Markdown, LaTeX, JSON."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import make_paper_table as script
from abhinaya.reporting import paper as tables
from abhinaya.reporting.table import LATEX, Cell, Table, latex
from abhinaya.runtime.files import read_json
from support.paper_parts import arguments, check_latex, run_script, shown

SCRIPTS = Path(script.__file__).parent


def unescape(text: str) -> str:
    plain = {code: character for character, code in LATEX.items()}
    longest_first = sorted(map(re.escape, plain), key=len, reverse=True)
    return re.sub("|".join(longest_first), lambda match: plain[match[0]], text)


def markdown_cells(line: str) -> list[str]:
    """The cells of a line, as on GitHub: a backslash escapes the next character."""
    cells = re.findall(r"\|((?:\\.|[^\\|])*)(?=\|)", line)
    return [re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells]


@pytest.mark.parametrize("table", tables.TABLES)
def test_all_files_of_a_table_have_the_same_content(tables_folder, table):
    described = read_json(tables_folder / f"{table}.json")
    held = TypeAdapter(Table).validate_python(described["table"])
    assert json.loads(json.dumps(asdict(held))) == described["table"]
    assert all(len(row) == len(held.columns) for row in held.rows)
    markdown = (tables_folder / f"{table}.md").read_text()
    head, rule, *lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert markdown_cells(head) == held.headings()
    assert set(rule) <= set("|-: ")
    assert len(lines) == len(held.rows)
    for line, row in zip(lines, held.rows, strict=True):
        assert len(markdown_cells(line)) == len(row)
    body = check_latex((tables_folder / f"{table}.tex").read_text(), len(held.columns))
    cells = {unescape(re.sub(r"\\(textbf|scriptsize) ?", "", cell)).strip("{} ") for row in body for cell in row}
    assert {text for row in held.rows for cell in row for text in (cell.text, cell.detail)} <= cells
    for text in (described["title"], described["caption"], *described["notes"]):
        assert text in markdown
        assert text in unescape((tables_folder / f"{table}.tex").read_text())
    assert described["name"] == table
    assert list(pd.read_csv(tables_folder / f"{table}.csv").columns)


def test_best_value_is_bold_in_each_format(tables_folder):
    best = [row for row in read_json(tables_folder / "table1.json")["table"]["rows"] if row[1]["best"]]
    assert [row[0]["text"] for row in best] == ["t2"]
    text = best[0][1]["text"]
    assert f"**{text}** [" in (tables_folder / "table1.md").read_text()
    assert rf"\textbf{{{text}}}" in (tables_folder / "table1.tex").read_text()
    assert not any(cell["best"] for cell in shown(tables_folder, "zero_shot_speech", "t1"))  # the only value
    assert not any(
        cell["best"] for row in read_json(tables_folder / "table1.json")["table"]["rows"] for cell in row[2:4]
    )


def test_the_same_inputs_give_the_same_bytes(score_files, tables_folder, tmp_path, monkeypatch):
    run_script(monkeypatch, arguments(score_files, "figure2", tmp_path))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (tables_folder / path.name).read_bytes()


@pytest.mark.slow
def test_tables_do_not_import_torch():
    code = "import sys, make_paper_table; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


TEXT = st.text() | st.text(alphabet="\\&%$#_{}~^<>|`-–—−± []*\n", max_size=12)


@given(TEXT)
@example("a--b---c – d")
def test_latex_escapes_every_text(text):
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    assert unescape(latex(text)) == line
    assert "--" not in latex(text)  # two hyphens are a dash


@given(st.data())
def test_tables_are_valid_with_any_text(data):
    width = data.draw(st.integers(1, 4))
    texts = st.lists(TEXT, min_size=width, max_size=width)
    rows = [
        [Cell(text, detail, best=index == 1) for index, (text, detail) in enumerate(zip(row, details, strict=True))]
        for row, details in data.draw(st.lists(st.tuples(texts, texts), max_size=3))
    ]
    table = Table(data.draw(texts), rows, [(data.draw(TEXT), width)])
    check_latex(table.latex(data.draw(TEXT), "tab:any", [data.draw(TEXT)]), width)
    lines = table.markdown().splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(len(markdown_cells(line)) == width for line in lines)
    assert TypeAdapter(Table).validate_json(json.dumps(asdict(table))) == table


def test_bracket_at_the_start_of_a_line_is_no_argument_of_a_line_break():
    table = Table(["[a] longer [than one line]"], [[Cell("[b]", "[c]")], [Cell("*")]])
    text = table.latex("", "tab:any")
    assert check_latex(text, 1)[1:] == [["{}[b]"], [r"{\scriptsize [c]}"], ["{}*"]]
