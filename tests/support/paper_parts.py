"""Inputs of the paper's tables, and helpers to read the tables."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import make_paper_table as script
from abhinaya.data.corpora.summary import summarise
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation import metrics
from abhinaya.labels import CLASSES
from abhinaya.reporting import paper as tables
from abhinaya.runtime.files import read_json, write_json

SPLITS = ("validation", "test")
FIVE = ["s1", "s2", "t1", "t2", "st1"]
SKILL = {
    "baseline": 0.1,
    "s1": 0.4,
    "s2": 0.3,
    "t1": 0.2,
    "t2": 0.7,
    "st1": 0.35,
    "four": 0.5,
    "vote": 0.6,
    "s1_1": 0.5,
    "early": 0.45,
}
SETTINGS = {
    "components": ["baseline", *FIVE, "vote"],
    "losses": {"systems": ["s1", "t2"], "losses": [{"name": "wce"}, {"name": "vs", "gamma": 0.3}]},
    "loss_runs": {"s1": {"wce": "baseline", "vs": "s1"}, "t2": {"wce": "t1", "vs": "t2"}},
    "combinations": {"four": {"members": ["st1", "t2", "s2", "s1"], "tie_break": "s2", "tie_rule": "label"}},
    "submitted": {"early": {"members": ["s1", "s2", "t1", "t2", "st1_3_epochs"], "tie_break": "s2"}},
    "ensembles": {"vote": {"members": FIVE, "tie_break": "s2", "tie_rule": "label"}},
    "zero_shot": {"models": ["t1", "t2"], "line": "baseline"},
    "zero_shot_models": {"t1": "package:small", "t2": "meta-llama/Llama-3.1-8B-Instruct"},
    "modalities": ["s2", "st1"],
    "speech_zero_shot": "t1",
    "seed_runs": {"s1": {"1234": "s1", "1": "s1_1"}, "t2": {"1234": "t2"}},
}


def make_score_files(root: Path) -> dict[str, Path]:
    """Scores of systems of different skill, as from score.py, and a corpus's summary."""
    rng = np.random.default_rng(5)
    truth = np.tile(list(CLASSES), 20)
    names = [f"u{index:03d}.wav" for index in range(len(truth))]
    manifest = pd.DataFrame({"FileName": names, "EmoClass": truth, "split": np.repeat(SPLITS, len(truth) // 2)})
    for system, skill in SKILL.items():
        labels = np.where(rng.random(len(truth)) < skill, truth, rng.choice(list(CLASSES), len(truth)))
        certain = pd.DataFrame(labels[:, None] == np.array(CLASSES), columns=list(PROBABILITIES)).astype(float)
        guesses = certain.assign(FileName=names, Split=manifest["split"], EmoClass=labels)
        write_json(metrics.score(manifest, guesses, resamples=50), root / f"{system}.json")
    train = pd.DataFrame({"EmoClass": [*"AAAAACCX", None], "split": "train"})
    rows = pd.concat([train, manifest[["EmoClass", "split"]]], ignore_index=True)
    summary = summarise(rows.assign(SpkrID=rows.index % 7, Gender="Female", duration=60.0), 0)
    write_json(summary, root / "summary.json")
    return {"summary": root / "summary.json", **{name: root / f"{name}.json" for name in SKILL}}


def arguments(score_files: dict[str, Path], table: str, folder: Path, settings: dict = SETTINGS) -> list[str]:
    return [
        *("--table", table, "--settings", json.dumps(settings), "--names", *SKILL),
        *("--scores", *[str(score_files[name]) for name in SKILL], "--votes", f"vote={','.join(FIVE)}"),
        *("--summary", str(score_files["summary"]), "--output-dir", str(folder)),
    ]


def run_script(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["make_paper_table.py", *given])
    script.main()


def record(folder: Path, table: str, **where: str) -> pd.Series:
    """The only row of a CSV with these values."""
    rows = pd.read_csv(folder / f"{table}.csv", float_precision="round_trip")
    for column, value in where.items():
        rows = rows[rows[column] == value]
    (_, row), *others = rows.iterrows()
    assert not others
    return row


def shown(folder: Path, table: str, name: str) -> list[dict]:
    """The cells after the name in the row of a table with this name."""
    (row,) = [row for row in read_json(folder / f"{table}.json")["table"]["rows"] if row[0]["text"] == name]
    return row[1:]


def inputs_of(score_files: dict[str, Path], **settings: object) -> tables.Inputs:
    given = tables.Settings.model_validate(SETTINGS | settings)
    names = list(SKILL)
    votes = [f"vote={','.join(FIVE)}"]
    return tables.read(given, names, [score_files[name] for name in names], votes, score_files["summary"])


def check_latex(text: str, columns: int) -> list[list[str]]:
    """Check the syntax of a table; return the cells of its body, a list for each line."""
    assert text.startswith("% \\usepackage{booktabs}\n")
    text = text.partition("\n")[2]
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert open_environments == []
    plain = re.sub(r"\\[&%$#_{}]", "", re.sub(r"\\label\{.*?\}", "", text))
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"[%#_~^`<>|]", plain)
    assert re.sub(r"\$-\$|\$\\pm\$", "", plain).count("$") == 0
    assert not re.search(r"\\\\\s*[\[*]", text)
    body = re.search(r"\\toprule\n(.*)\\bottomrule", text, re.DOTALL)[1]
    rows = []
    for line in body.splitlines():
        if line.startswith(("\\cmidrule", "\\midrule")):
            continue
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        wide = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(cells) + sum(wide) - len(wide) == columns
        rows.append([cell.strip() for cell in cells])
    return rows
