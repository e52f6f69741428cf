"""The README's commands are true: each one is run, or at least planned, as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from abhinaya.labels import CLASSES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    re.sub(r"\s+#.*", "", line).strip()
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
SNAKEMAKE = [command for command in COMMANDS if command.startswith("snakemake")]
SCRIPTS = [command for command in COMMANDS if command.startswith("python workflow_scripts/")]
MAKE = [part for command in COMMANDS if command.startswith("make") for part in command.split(" && ")[:1]]


def test_the_readme_has_the_commands_that_are_tested_here() -> None:
    known = {*SNAKEMAKE, *SCRIPTS}
    rest = [command for command in COMMANDS if command not in known and not command.startswith("make ")]
    assert len(SNAKEMAKE) >= 6 and len(SCRIPTS) == 4
    assert rest == ["mkdir -p data && ln -s /path/to/MSP-Podcast data/msp-podcast"], rest


@pytest.mark.parametrize("command", SNAKEMAKE)
def test_snakemake_plans_it(command: str, tmp_path: Path) -> None:
    words = command.split()[1:]
    if "--directory" not in words:
        words += ["--directory", str(tmp_path)]
    else:
        words[words.index("--directory") + 1] = str(tmp_path)
    done = subprocess.run([sys.executable, "-m", "snakemake", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_do_it(finished: Path) -> None:
    """Except the ensemble's, which starts a server; test_workflow_new_audio.py runs it."""
    clip, *others = sorted((finished / "results/corpus/audio").rglob("*.wav"))[:3]
    (finished / "folder").mkdir()
    shutil.copy(clip, finished / "clip.wav")
    shutil.copy(others[0], finished / "folder")
    (finished / "list.csv").write_text(f"path\n{others[1]}\n")
    *commands, ensembles = sorted(SCRIPTS, key=lambda command: "predict_ensemble" in command)
    assert ensembles.startswith("python workflow_scripts/predict_ensemble.py --ensemble results/vote --audio ")
    for command in commands:
        words = [str(ROOT / word) if word.startswith("workflow_scripts/") else word for word in command.split()[1:]]
        done = subprocess.run([sys.executable, *words], cwd=finished, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    labelled = pd.read_csv(finished / "labels.csv")
    assert [Path(path).name for path in labelled["path"]] == ["clip.wav", *[path.name for path in others]]
    assert labelled["EmoClass"].isin(CLASSES).all()


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_it(command: str) -> None:
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)", README):
        assert (ROOT / target).exists(), target
