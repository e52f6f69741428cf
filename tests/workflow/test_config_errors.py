"""Snakemake and the configuration: a mistake stops it before anything runs; what replaces, what merges."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.messages import assert_names

ROOT = Path(__file__).parents[2]
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
OWN = {
    "corpus": {"kind": "csv", "table": "utterances.csv"},
    "transcripts": {"source": "corpus"},
    "systems": {"only": {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wce"}}},
}


def dry_run(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of `snakemake -n -p` with results under `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    done = subprocess.run(
        [*command, "--dry-run", "--printshellcmds", "--cores", "1", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def written(folder: Path, values: object) -> str:
    (folder / "own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return "own.yaml"


def test_mistakes_stop_snakemake_with_a_line_each(tmp_path: Path) -> None:
    name = written(tmp_path, OWN | {"sead": 3, "ensembles": {"vote": {"members": ["only"], "tie_brake": "only"}}})
    code, output = dry_run(tmp_path, "--configfile", name)
    assert code != 0
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if line.startswith("error: ")] == [
        "error: configuration: `ensembles.vote.tie_break`: missing; add it",
        "error: configuration: `ensembles.vote.tie_brake`: unknown key; did you mean `tie_break`?",
        "error: configuration: `sead`: unknown key; did you mean `seed`?",
    ]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("values", [None, ["corpus"]])
def test_a_file_without_keys_stops_snakemake(tmp_path: Path, values: object) -> None:
    code, output = dry_run(tmp_path, "--configfile", written(tmp_path, values))
    assert code != 0
    assert "Traceback" not in output
    assert "keys at top level" in output


def test_a_number_in_the_braces_of_config_belongs_in_a_file(tmp_path: Path) -> None:
    code, output = dry_run(tmp_path, "--config", "systems={s1: {training: {epochs: 3}}}")
    assert code != 0
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert_names(line, "`systems.s1.training.epochs`", "'3'", "file")


def test_config_changes_single_keys_of_the_demo(tmp_path: Path) -> None:
    code, output = dry_run(tmp_path, "--config", "seed=7", "transcripts={source: corpus}")
    assert code == 0, output
    assert "--seed 7 " in output and f"--seed {DEMO['seed']}" not in output
    assert "transcribe.py" not in output
    assert all(f"--name {system} " in output for system in DEMO["systems"])


def test_an_own_configuration_replaces_the_demo_as_a_whole(tmp_path: Path) -> None:
    code, output = dry_run(tmp_path, "--configfile", written(tmp_path, OWN))
    assert code == 0, output
    assert "--name only " in output
    assert not any(f"--name {system} " in output for system in DEMO["systems"])
    for demo in ("vote.py", DEMO["corpus"]["kind"], DEMO["report"]["title"]):
        assert demo not in output


def test_several_configurations_are_merged(tmp_path: Path) -> None:
    known = next(iter(DEMO["systems"]))
    more = {"systems": {"only": OWN["systems"]["only"], known: {"training": {"epochs": 77}}}}
    code, output = dry_run(tmp_path, "--configfile", str(ROOT / "config.yaml"), written(tmp_path, more))
    assert code == 0, output
    for system in (*DEMO["systems"], "only"):
        assert f"--name {system} " in output
    trained = next(line for line in output.splitlines() if f"--name {known} " in line)
    assert '"epochs":77,' in trained
    assert f'"learning_rate":{DEMO["systems"][known]["training"]["learning_rate"]}' in trained
