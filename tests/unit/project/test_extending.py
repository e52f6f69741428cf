"""docs/extending.md is true: its changes apply, what they give passes its tests, its commands and YAML work."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from snakemake.utils import update_config

from abhinaya import config
from abhinaya.data import corpora, schemas
from abhinaya.labels import CLASSES
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
COPIED = ("workflow_scripts", "config", "rules", "envs", "tests", "pyproject.toml", "config.yaml", "Snakefile")
PARTS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
FILE = re.compile(r"# (\S+\.py)\n")


@dataclass(frozen=True)
class Block:
    part: str  # the heading it stands under
    kind: str
    content: str

    @property
    def file(self) -> str | None:
        """The whole file that a block of Python is."""
        found = FILE.match(self.content)
        return found[1] if self.kind == "python" and found else None


BLOCKS = [
    Block(part.split("\n", 1)[0], kind, content)
    for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)
    for kind, content in re.findall(r"^```(\w+)\n(.*?)^```$", part, flags=re.DOTALL | re.MULTILINE)
]
SETTINGS = [yaml.safe_load(block.content) for block in BLOCKS if block.kind == "yaml"]
WRITTEN = [block.file for block in BLOCKS if block.file]


def only(part: str, kind: str) -> str:
    (block,) = [block for block in BLOCKS if (block.part, block.kind) == (part, kind)]
    return block.content


def changed(block: Block, text: str) -> str:
    """`text` after the change that a `diff` block shows; each of its pieces must stand there exactly once."""
    for piece in re.split(r"^@@\n", block.content.split("\n", 1)[1], flags=re.MULTILINE):
        lines = piece.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        assert f"\n{text}".count(f"\n{old}") == 1, f"{block.content.splitlines()[0]} has not once:\n{old}"
        text = f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:]
    return text


def target(block: Block) -> str:
    return block.content.split("\n", 1)[0].removeprefix("--- ")


def merged(values: dict) -> dict:
    """A whole configuration: `values`, over the demo's unless they are one."""
    if "corpus" in values:
        return values
    whole = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(whole, deepcopy(values))
    return whole


def is_known(values: dict) -> bool:
    """Whether a configuration needs no code of the page's."""
    try:
        config.validate(merged(values))
    except UserError as error:
        assert "must be one of" in str(error) or "must be 'label'" in str(error), error
        return False
    return True


# Without code


def test_the_settings_that_need_no_code_are_accepted_as_they_are() -> None:
    known = [values for values in SETTINGS if is_known(values)]
    assert len(known) == 3 and len(SETTINGS) == 7
    assert {"wavlm", "xlsr", "qwen", "hubert"} == {name for values in known for name in values["systems"]}


def test_the_table_becomes_a_corpus(tmp_path: Path) -> None:
    part = "Any corpus from a table"
    (tmp_path / "utterances.csv").write_text(only(part, "csv"))
    for path in pd.read_csv(tmp_path / "utterances.csv")["path"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / path, np.random.default_rng(0).normal(0, 0.1, 4000), 22_050)
    values = yaml.safe_load(only(part, "yaml"))
    values["corpus"]["table"] = str(tmp_path / "utterances.csv")
    prepared = corpora.prepare(config.validate(values).corpus, 1, tmp_path)
    assert prepared.manifest["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert prepared.manifest["EmoClass"].tolist()[:5] == list("AHAHA")
    assert prepared.manifest["EmoClass"].isna().tolist() == [False] * 5 + [True]
    assert len(prepared.references) == 6


def test_predictions_made_elsewhere_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(3)
    names = [f"{index:02}.wav" for index in range(24)]
    truth = pd.DataFrame({"FileName": names, "path": names, "EmoClass": [*CLASSES] * 3, "duration": 1.0})
    truth["split"] = ["train"] * 8 + ["validation"] * 8 + ["test"] * 8
    schemas.write_manifest(truth, "results/corpus/manifest.parquet")
    own = pd.DataFrame(generator.uniform(0.1, 1, (24, 8)), columns=list(CLASSES)).assign(FileName=names)
    files.write_csv(own.sample(frac=1, random_state=1), "mine/scores.csv")
    part = "Predictions made elsewhere"
    exec(compile(only(part, "python"), part, "exec"), {})
    mine = schemas.read_predictions("mine/preds.csv").set_index("FileName")
    assert mine.index.tolist() == names[8:]
    assert mine["EmoClass"].tolist() == own.set_index("FileName").loc[names[8:], list(CLASSES)].idxmax(axis=1).tolist()
    for member, label in (("s1", "A"), ("t2", "N")):
        schemas.write_predictions(mine.assign(EmoClass=label).reset_index(), f"results/{member}/preds.csv")
    for command in commands(only(part, "sh")):
        assert command[0] == "python"
        monkeypatch.setattr(sys, "argv", command[1:])
        runpy.run_path(str(ROOT / command[1]), run_name="__main__")
    voted = pd.read_csv("mine/vote.csv").set_index("FileName")
    agreed = np.where(mine["EmoClass"] == "N", "N", "A")  # two for N, or s1's tie-break
    assert voted["EmoClass"].tolist() == agreed.tolist()
    assert len(pd.read_csv("mine/submission.csv")) == 8
    assert files.read_json("mine/scores.json")["validation"]["n"] == 8
    assert "macro-F1" in capsys.readouterr().out


def test_a_member_from_elsewhere_is_no_system() -> None:
    values = merged({"ensembles": {"with_mine": {"members": ["s1", "mine"], "tie_break": "s1"}}})
    with pytest.raises(UserError, match=r"`ensembles\.with_mine\.members`: no system 'mine'"):
        config.validate(values)


def commands(script: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in script.replace("\\\n", " ").splitlines()]


def test_its_commands_and_links_lead_somewhere() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    first = next(block for block in BLOCKS if block.kind == "sh")
    assert [command[0] for command in commands(first.content)] == ["make"] * 3
    assert {command[1] for command in commands(first.content)} <= set(targets)
    headings = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^##+ (.*)", TEXT, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert link.removeprefix("#") in headings if link.startswith("#") else (ROOT / "docs" / link).exists(), link


# With code


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.split("\n", 1)[0])
def test_each_chapter_applies_without_the_others(part: str) -> None:
    changes = [block for block in BLOCKS if block.kind == "diff" and block.content in part]
    texts = {target(block): (ROOT / target(block)).read_text(encoding="utf-8") for block in changes}
    before = dict(texts)
    for block in changes:
        texts[target(block)] = changed(block, texts[target(block)])
    assert changes and all(texts[name] != before[name] for name in texts)
    assert not any((ROOT / name).exists() for name in WRITTEN)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all that the page adds, its manual and schema made anew."""
    copy = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    for block in BLOCKS:
        if block.file:
            (copy / block.file).write_text(FILE.sub("", block.content, count=1), encoding="utf-8")
        elif block.kind == "diff":
            path = copy / target(block)
            path.write_text(changed(block, path.read_text(encoding="utf-8")), encoding="utf-8")
    done = run(copy, "workflow_scripts/document_config.py")  # make schema
    assert done.returncode == 0, done.stderr
    return copy


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_its_tests_pass_and_manual_and_schema_are_whole(extended: Path) -> None:
    own = [name for name in WRITTEN if name.startswith("tests/")]
    assert len(own) == 5
    made = ("schema_file_is_what_the_models_say", "manual_has_the_current_table_of_every_section")
    done = run(
        extended, "-m", "pytest", "-q", *own, *[f"tests/unit/config/test_config.py::test_{name}" for name in made]
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_code_is_in_the_house_style(extended: Path) -> None:
    files = sorted({*WRITTEN, *(target(b) for b in BLOCKS if b.kind == "diff" and target(b).endswith(".py"))})
    for command in (("check",), ("format", "--check")):
        done = run(extended, "-m", "ruff", *command, *files)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_snakemake_plans_the_settings_that_need_code(extended: Path) -> None:
    whole = merged({})
    settings = [values for values in SETTINGS if not is_known(values)]
    for values in settings:
        if "corpus" in values:  # another kind, whose keys are not to be merged with the demo's
            del whole["corpus"]
        update_config(whole, deepcopy(values))
    assert len(settings) == 4 and whole["corpus"]["kind"] == "crema_d"
    (extended / "all.json").write_text(json.dumps(whole))
    done = run(extended, "-m", "snakemake", "-n", "--configfile", "all.json", "--directory", "runs/all")
    assert done.returncode == 0, done.stdout + done.stderr
    for job in ("wavlm", "recurrent", "margin"):
        assert f"Training {job}\n" in done.stdout
    assert "Voting: panel\n" in done.stdout
