"""`snakemake cv`: a run of each fold, features once for all folds, one table."""

from pathlib import Path

import pandas as pd
import yaml

from abhinaya.data import schemas
from support.running import planned, snakemake
from support.speech import write_noise
from support.speech_corpus import WAVLM

SYSTEM = {
    "family": "speech",
    "encoder": {"model": "random:wavlm", "config": WAVLM, "freeze": "all"},
    "head": {"hidden": 16},
    "loss": "wfl",
    "training": {"epochs": 1, "effective_batch": 8},
}


def write_config(folder: Path, **corpus: object) -> Path:
    lines = ["file_name,emotion,speaker"]
    for index in range(24):
        write_noise(folder / f"{index:02}.wav", 0.2 + index / 1000)
        lines.append(f"{index:02}.wav,{('anger', 'happy')[index // 3 % 2]},{'abc'[index % 3]}")
    (folder / "corpus.csv").write_text("\n".join(lines))
    values = {
        "corpus": {"kind": "csv", "table": str(folder / "corpus.csv"), **corpus},
        "transcripts": {"source": "corpus"},
        "systems": {"s1": SYSTEM},
        "ensembles": {"vote": {"members": ["s1"], "tie_break": "s1"}},
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    return config


def test_every_fold_is_trained_and_scored(tmp_path: Path) -> None:
    config = write_config(tmp_path, split={"by": "speaker", "folds": 3})
    run = snakemake(tmp_path, "cv", configfile=config)
    plan = planned(run)
    assert (plan["prepare_corpus"], plan["extract_features"], plan["train"], plan["vote"]) == (1, 1, 3, 3)
    pooled = pd.read_csv(tmp_path / "results/cv/predictions.csv")
    assert len(pooled) == 2 * 24 and (pooled.groupby(["system", "FileName"]).size() == 1).all()
    scores = pd.read_csv(tmp_path / "results/cv/scores.csv")
    assert scores["system"].tolist() == ["s1", "vote"] and scores["folds"].tolist() == [3, 3]
    second = schemas.read_manifest(tmp_path / "results/corpus/fold2/manifest.parquet")
    assert set(second.loc[second["split"] == "test", "SpkrID"]) == {"b"}
    assert planned(snakemake(tmp_path, "-n", "cv", configfile=config)) == {}


def test_without_folds_the_key_is_named(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "-n", "cv", configfile=write_config(tmp_path))
    assert run.returncode != 0 and "corpus.split" in run.stdout + run.stderr
