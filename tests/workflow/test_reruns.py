"""What is made again after a change: only what reads the part that changed, however large the manifest is."""

import secrets
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from support import msp_layout
from support.running import TEST_CONFIG, planned, snakemake

TARGET = "results/vote/scores.json"
UNUSED = 20_000  # rows in no split: they make the manifest large and are neither trained on nor predicted


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A finished run over a manifest of more than a megabyte, its configuration and its label table."""
    folder = tmp_path_factory.mktemp("large")
    generator = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", generator.normal(0, 0.1, 8000), 16_000)
    splits = ["train"] * 24 + ["validation"] * 12 + ["test"] * 12 + [None] * UNUSED
    rows = pd.DataFrame({"FileName": [secrets.token_hex(60) for _ in splits], "split": splits})
    rows["path"] = [f"{number % 8}.wav" for number in range(len(splits))]
    rows["EmoClass"] = ["AHN"[number % 3] for number in range(len(splits))]
    rows["text"] = [f"sentence {number}" for number in range(len(splits))]
    table = folder / "table.csv"
    rows.to_csv(table, index=False)
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    settings["corpus"] = {"kind": "csv", "table": str(table), "classes": ["A", "H", "N"]}
    settings["transcripts"] = {"source": "corpus", "utterances": "used"}
    settings["systems"] = {name: settings["systems"][name] for name in ("baseline", "t2")}
    settings["ensembles"] = {"vote": {"members": ["baseline", "t2"], "tie_break": "t2"}}
    settings["tables"] = {}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    first = snakemake(folder / "run", TARGET, configfile=config)
    assert first.returncode == 0, first.stdout + first.stderr
    assert (folder / "run/results/corpus/manifest.parquet").stat().st_size > 2**20
    return folder / "run", config, table


def rerun(directory: Path, config: Path) -> dict[str, int]:
    """Run what is left to do, and count the jobs that really ran; afterwards nothing must be left."""
    started = {record: record.stat().st_mtime_ns for record in records(directory)}
    run = snakemake(directory, TARGET, configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    assert planned(snakemake(directory, "-n", TARGET, configfile=config)) == {}
    return dict(
        Counter(
            record.relative_to(directory / "logs/benchmarks").parts[0].removesuffix(".tsv")
            for record in records(directory)
            if started.get(record) != record.stat().st_mtime_ns
        )
    )


def left_after_preparing(directory: Path, config: Path) -> dict[str, int]:
    """Prepare the corpus again; what is then left to do."""
    run = snakemake(directory, "results/corpus/digests/training.sha256", configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    plan = planned(snakemake(directory, "-n", TARGET, configfile=config))
    return {rule: jobs for rule, jobs in plan.items() if rule != "total"}


def records(directory: Path) -> list[Path]:
    """Snakemake's benchmark files: each job that runs writes its own."""
    return list((directory / "logs/benchmarks").rglob("*.tsv"))


def change(config: Path, key: str, value: object) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["corpus"][key] = value
    config.write_text(yaml.safe_dump(settings))


def edit(table: Path, split: str, column: str) -> None:
    """Change a value of the first utterance of `split`."""
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    row = rows.index[rows["split"] == split][0]
    old = rows.loc[row, column]
    rows.loc[row, column] = f"{old} more" if column == "text" else "A" if old != "A" else "H"
    rows.to_csv(table, index=False)


def test_a_corpus_prepared_again_with_the_same_content_runs_nothing_else(corpus: tuple[Path, Path, Path]) -> None:
    directory, config, _ = corpus
    change(config, "max_rejected", 0.5)
    assert rerun(directory, config) == {"prepare_corpus": 1}


def test_a_run_that_was_killed_in_between_trains_nothing_again(corpus: tuple[Path, Path, Path]) -> None:
    """Snakemake removes the declared outputs of a job that fails."""
    directory, config, table = corpus
    content = table.read_text()
    table.write_text(content.replace("train", "tram"))
    assert snakemake(directory, TARGET, configfile=config).returncode != 0
    assert not (directory / "results/corpus/manifest.parquet").exists()
    table.write_text(content)
    assert rerun(directory, config) == {"prepare_corpus": 1}


def test_labels_that_nothing_is_trained_with_concern_the_scores(corpus: tuple[Path, Path, Path]) -> None:
    directory, config, table = corpus
    edit(table, "test", "EmoClass")
    edit(table, "", "EmoClass")
    assert rerun(directory, config) == {"prepare_corpus": 1, "score": 1}


def test_a_label_that_is_trained_with_concerns_the_models(corpus: tuple[Path, Path, Path]) -> None:
    directory, config, table = corpus
    content = table.read_text()
    edit(table, "train", "EmoClass")
    assert left_after_preparing(directory, config) == {"train": 2, "predict": 2, "vote": 1, "score": 1}
    table.write_text(content)
    assert left_after_preparing(directory, config) == {}


def test_another_text_concerns_the_systems_that_read(corpus: tuple[Path, Path, Path]) -> None:
    directory, config, table = corpus
    edit(table, "train", "text")
    of_t2 = {"train": 1, "predict": 1, "vote": 1, "score": 1}
    assert rerun(directory, config) == {"prepare_corpus": 1, "merge_transcripts": 1, **of_t2}


def test_label_files_of_msp_podcast_are_watched(tmp_path: Path) -> None:
    msp_layout.write(tmp_path / "MSP")
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    settings["corpus"] = {"kind": "msp_podcast", "root": str(tmp_path / "MSP")}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    target = "results/corpus/manifest.parquet"
    run = snakemake(tmp_path, target, configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    assert planned(snakemake(tmp_path, "-n", target, configfile=config)) == {}
    for name in ("Labels/labels_consensus.csv", "Labels/labels_detailed.csv", "Partitions.txt", "Speaker_ids.txt"):
        file = tmp_path / "MSP" / name
        content = file.read_text()
        file.write_text(content + " ")
        plan = planned(snakemake(tmp_path, "-n", target, configfile=config))
        assert plan == {"prepare_corpus": 1, "total": 1}, name
        file.write_text(content)
