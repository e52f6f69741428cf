"""The folders in examples/: each works alone in a copy of the repository, with its tests, settings, commands."""

import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
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
from support import preloaded

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
COPIED = ("workflow_scripts", "config", "docs", "rules", "envs", "tests")
FILES = ("pyproject.toml", "config.yaml", "Snakefile")
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())
CONFIGURED = [name for name in NAMES if (EXAMPLES / name / "config.yaml").exists()]
PATCHED = [name for name in NAMES if (EXAMPLES / name / "change.patch").exists()]
PAGES = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs/extending.md", EXAMPLES / "README.md")}
# What Snakemake plans with the settings of an example.
JOBS = {
    "corpus_subesco": "Training wavlm",
    "encoder_unispeech_sat": "Training unispeech",
    "encoder_mel": "Training recurrent",
    "loss_ldam": "Training margin",
    "tie_rule_panel": "Voting: panel",
}


def settings(name: str) -> dict:
    return yaml.safe_load((EXAMPLES / name / "config.yaml").read_text(encoding="utf-8"))


def merged(values: dict) -> dict:
    """A whole configuration: `values`, over the demo's unless they are one."""
    if "corpus" in values:
        return values
    whole = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(whole, deepcopy(values))
    return whole


def new_files(name: str) -> list[str]:
    """The files that an example adds, by their path in the repository."""
    paths = [path for top in ("workflow_scripts", "tests") for path in (EXAMPLES / name / top).rglob("*.py")]
    return sorted(str(path.relative_to(EXAMPLES / name)) for path in paths)


def changed_files(name: str) -> list[str]:
    patch = (EXAMPLES / name / "change.patch").read_text(encoding="utf-8")
    return re.findall(r"^\+\+\+ b/(.*)$", patch, flags=re.MULTILINE)


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess:
    # Git takes a patch in a folder for one of the repository that the folder may be in.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def copy_of_the_repository(target: Path) -> Path:
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, target / name)
    return target


def test_the_pages_name_every_example() -> None:
    assert NAMES and all(f"`{name}`" in PAGES[EXAMPLES / "README.md"] for name in NAMES)
    linked = set(re.findall(r"\.\./examples/(\w+)\)", PAGES[ROOT / "docs/extending.md"]))
    assert linked == set(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_and_commands_of_the_pages_exist(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)", PAGES[page]):
        assert (page.parent / link).exists(), link
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for command in re.findall(r"```sh\n(.*?)```", PAGES[page], flags=re.DOTALL):
        for path in re.findall(r"\S+/\S+", re.sub(r"#.*", "", command)):
            assert (ROOT / path).exists() or (EXAMPLES / "encoder_mel" / path).exists(), path
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGES[page], flags=re.MULTILINE)) <= set(targets)


# --- without code


@pytest.mark.parametrize("name", sorted({*CONFIGURED} - {*PATCHED}))
def test_settings_that_need_no_code_are_valid(name: str) -> None:
    config.validate(merged(settings(name)))


def test_the_table_becomes_a_corpus(tmp_path: Path) -> None:
    table = EXAMPLES / "corpus_csv" / "utterances.csv"
    for path in pd.read_csv(table)["path"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / path, np.random.default_rng(0).normal(0, 0.1, 4000), 22_050)
    values = settings("corpus_csv")
    assert (ROOT / "runs" / "csv" / values["corpus"]["table"]).resolve() == table
    values["corpus"] |= {"table": str(table), "root": str(tmp_path)}
    prepared = corpora.prepare(config.validate(values).corpus, 1, tmp_path)
    assert prepared.manifest["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert prepared.manifest["EmoClass"].tolist()[:5] == list("AHAHA")
    assert prepared.manifest["EmoClass"].isna().tolist() == [False] * 5 + [True]
    assert len(prepared.references) == 6


@pytest.mark.slow
def test_predictions_of_another_program_vote(tmp_path: Path) -> None:
    for name in ("workflow_scripts", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    generator = np.random.default_rng(3)
    names = [f"{index:02}.wav" for index in range(24)]
    truth = pd.DataFrame({"FileName": names, "path": names, "EmoClass": [*CLASSES] * 3, "duration": 1.0})
    truth["split"] = ["train"] * 8 + ["validation"] * 8 + ["test"] * 8
    schemas.write_manifest(truth, tmp_path / "results/corpus/manifest.parquet")
    own = pd.DataFrame(generator.uniform(0.1, 1, (24, 8)), columns=list(CLASSES)).assign(FileName=names)
    files.write_csv(own.sample(frac=1, random_state=1), tmp_path / "mine/scores.csv")
    best = own.set_index("FileName").loc[names[8:], list(CLASSES)].idxmax(axis=1)
    for member, label in (("s1", "A"), ("t2", "N")):
        probabilities = dict.fromkeys(schemas.PROBABILITIES, 1 / 8)
        rows = truth[8:].assign(**probabilities, Split=truth["split"], EmoClass=label)
        columns = ["FileName", "Split", "EmoClass", *schemas.PROBABILITIES]
        schemas.write_predictions(rows[columns], tmp_path / f"results/{member}/preds.csv")
    done = run(tmp_path, "sh", "examples/external_predictions/vote.sh", **preloaded.path())
    assert done.returncode == 0, done.stderr
    mine = schemas.read_predictions(tmp_path / "mine/preds.csv").set_index("FileName")
    assert mine["EmoClass"].to_dict() == best.to_dict()
    voted = pd.read_csv(tmp_path / "mine/vote.csv").set_index("FileName")
    agreed = np.where(mine["EmoClass"] == "N", "N", "A")  # two for N, or s1's tie-break
    assert voted["EmoClass"].tolist() == agreed.tolist()
    assert len(pd.read_csv(tmp_path / "mine/submission.csv")) == 8
    assert files.read_json(tmp_path / "mine/scores.json")["validation"]["n"] == 8
    assert "macro-F1" in done.stdout


def test_a_member_that_is_no_system_is_refused() -> None:
    values = merged({"ensembles": {"with_mine": {"members": ["s1", "mine"], "tie_break": "s1"}}})
    with pytest.raises(UserError, match=r"`ensembles\.with_mine\.members`: 'mine' is not a system"):
        config.validate(values)


# --- with code


@pytest.mark.parametrize("name", PATCHED)
def test_its_settings_need_its_code(name: str) -> None:
    with pytest.raises(UserError, match=r"must be one of|must be 'label'|unknown architecture"):
        config.validate(merged(settings(name)))


@pytest.mark.parametrize("name", PATCHED)
def test_it_adds_code_and_a_test_and_replaces_nothing(name: str) -> None:
    added = new_files(name)
    assert any(path.startswith("tests/") for path in added)
    assert [path for path in added if (ROOT / path).exists()] == []
    assert [path for path in changed_files(name) if not (ROOT / path).is_file()] == []


def test_all_of_them_apply_together(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflow_scripts", tmp_path / "workflow_scripts")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in PATCHED:
        done = run(tmp_path, "git", "apply", str(EXAMPLES / name / "change.patch"))
        assert done.returncode == 0, f"{name}: {done.stderr}"


@pytest.fixture(scope="module", params=PATCHED)
def extended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An example and a copy of the repository with it, made as its README says."""
    name = request.param
    copy = copy_of_the_repository(tmp_path_factory.mktemp(name))
    for path in new_files(name):
        shutil.copy(EXAMPLES / name / path, copy / path)
    for command in (
        ("git", "apply", str(EXAMPLES / name / "change.patch")),
        (str(preloaded.python()), "workflow_scripts/document_config.py"),  # make schema
    ):
        done = run(copy, *command)
        assert done.returncode == 0, done.stderr
    assert all((copy / path).read_bytes() != (ROOT / path).read_bytes() for path in changed_files(name))
    return name, copy


@pytest.mark.slow
def test_its_tests_pass_and_reference_and_schema_are_complete(extended: tuple[str, Path]) -> None:
    name, copy = extended
    own = [path for path in new_files(name) if path.startswith("tests/")]
    made = ("schema_file_is_current", "reference_has_the_current_table_of_every_section")
    known = [f"tests/unit/config/test_config.py::test_{test}" for test in made]
    done = run(copy, str(preloaded.python()), "-m", "pytest", "-q", *own, *known)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_its_code_passes_the_linter(extended: tuple[str, Path]) -> None:
    name, copy = extended
    code = sorted({*new_files(name), *(path for path in changed_files(name) if path.endswith(".py"))})
    for command in (("check",), ("format", "--check")):
        done = run(copy, sys.executable, "-m", "ruff", *command, *code)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_snakemake_plans_its_settings(extended: tuple[str, Path]) -> None:
    name, copy = extended
    files_ = [] if "corpus" in settings(name) else ["config.yaml"]
    files_.append(str(EXAMPLES / name / "config.yaml"))
    command = ("-m", "snakemake", "-n", "--directory", "runs/example", "--configfile", *files_)
    done = run(copy, str(preloaded.python()), *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{JOBS[name]}\n" in done.stdout
