"""The script that fits a fusion: its files, what it fits on, and what it reports."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fit_fusion
from abhinaya.data.schemas import KEY, PREDICTIONS, read_predictions, write_manifest, write_predictions
from abhinaya.evaluation import voting
from abhinaya.evaluation.fusion import inputs, rule
from abhinaya.evaluation.metrics import score
from abhinaya.evaluation.submission import problems
from abhinaya.runtime.errors import UserError
from support.fusion_parts import manifest, sample, tables

SPLITS = {"train": 16, "validation": 40, "test": 60, "development": 80}
MEMBERS = ["a", "b"]
STRENGTHS = (1.0, 1.6)
MEAN = '{"rule": "mean", "calibration": "temperature", "members": ["a", "b"]}'


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A folder with a manifest and the predictions of two members."""
    folder = tmp_path_factory.mktemp("fusion")
    parts = {split: sample(n, STRENGTHS, seed, speakers=12) for seed, (split, n) in enumerate(SPLITS.items())}
    write_manifest(
        pd.concat([manifest(part, split) for split, part in parts.items()], ignore_index=True),
        folder / "manifest.parquet",
    )
    for name in MEMBERS:
        made = [tables(part, MEMBERS, split)[name] for split, part in parts.items() if split != "train"]
        write_predictions(pd.concat(made).reset_index(), folder / name / "preds.csv")
    return folder


def run(corpus: Path, output: Path, settings: str, evaluated: bool = False, **changed: object) -> None:
    """Run the script; its steps are not `evaluated` by default, which takes seconds."""
    options = {
        "settings": settings,
        "manifest": corpus / "manifest.parquet",
        "bootstrap": 100,
        "output": output / "preds.csv",
        "submission": output / "submission.csv",
        "description": output / "ensemble.json",
        "tables": output / "fusion",
    } | changed
    arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    preds = [str(corpus / name / "preds.csv") for name in MEMBERS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_fusion.steps, "methods", lambda chosen: {"chosen": chosen})  # the others take seconds
        if not evaluated:
            patch.setattr(fit_fusion.steps, "evaluate", lambda *_: {"steps": pd.DataFrame()})
        patch.setattr(sys, "argv", ["fit_fusion.py", *arguments, "--preds", *preds])
        fit_fusion.main()


@pytest.fixture(scope="module")
def fused(corpus, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("fused")
    run(corpus, output, MEAN, evaluated=True)
    return output


def test_predictions_and_submission_are_valid(corpus, fused) -> None:
    rows = pd.read_parquet(corpus / "manifest.parquet")
    predictions = read_predictions(fused / "preds.csv")
    assert tuple(predictions.columns) == PREDICTIONS
    assert len(predictions) == 180
    assert score(rows, predictions, resamples=10)["test"]["n"] == 60
    assert problems(pd.read_csv(fused / "submission.csv", dtype=str), rows) == []


def test_the_stored_rule_gives_the_predictions_that_are_not_cross_fitted(corpus, fused) -> None:
    stored = rule.read(fused / "ensemble.json")
    assert stored.members == MEMBERS
    assert stored.fitted_on == {"validation": 40}
    assert stored.folds_by == "speaker"
    members = voting.read_members({name: corpus / name / "preds.csv" for name in MEMBERS})
    again = stored.fuse(members).set_index(KEY)
    written = read_predictions(fused / "preds.csv").set_index(KEY)
    columns = list(PREDICTIONS[3:])
    others = written.index[written["Split"] != "validation"]
    assert again.loc[others, columns].to_numpy() == pytest.approx(written.loc[others, columns].to_numpy(), abs=1e-12)
    fitted_on = written.index[written["Split"] == "validation"]
    assert not np.allclose(again.loc[fitted_on, columns], written.loc[fitted_on, columns], atol=1e-6)


def test_a_second_run_writes_the_same_bytes(corpus, fused, tmp_path) -> None:
    run(corpus, tmp_path, MEAN, evaluated=True)
    for path in sorted(fused.rglob("*.*")):
        assert (tmp_path / path.relative_to(fused)).read_bytes() == path.read_bytes()


def test_development_is_fitted_on_if_asked(corpus, tmp_path) -> None:
    run(corpus, tmp_path, MEAN.replace("}", ', "fit_on": "development"}'))
    assert rule.read(tmp_path / "ensemble.json").fitted_on == {"validation": 40, "development": 80}


def test_without_parameters_nothing_is_fitted(corpus, tmp_path) -> None:
    run(corpus, tmp_path, MEAN.replace("temperature", "none"))
    stored = rule.read(tmp_path / "ensemble.json")
    assert (stored.fitted_on, stored.folds_by, stored.fitted.temperature) == ({}, None, 1)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ('{"rule": "mean", "members": ["a"]}', "two"),
        ('{"rule": "mean", "members": ["a", "b", "c"]}', "3 names"),
        ('{"rule": "vote", "members": ["a", "b"]}', "rule"),
        ("{", "JSON"),
    ],
)
def test_wrong_settings_are_one_line(corpus, tmp_path, settings, word) -> None:
    with pytest.raises(UserError, match=word) as raised:
        run(corpus, tmp_path, settings)
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.rglob("*"))


def test_too_few_labels_are_one_line(corpus, tmp_path) -> None:
    rows = pd.read_parquet(corpus / "manifest.parquet")
    rows.loc[rows["split"] == "validation", "EmoClass"] = None
    write_manifest(rows, tmp_path / "manifest.parquet")
    with pytest.raises(UserError, match="fit_on validation"):
        run(corpus, tmp_path / "out", MEAN, manifest=tmp_path / "manifest.parquet")


def test_a_class_that_development_lacks_is_named(corpus) -> None:
    rows = pd.read_parquet(corpus / "manifest.parquet")
    rows.loc[(rows["split"] == "validation") & (rows["EmoClass"] == "F"), "EmoClass"] = "A"
    rows.loc[rows["split"] == "train", "EmoClass"] = "F"
    members = voting.read_members({name: corpus / name / "preds.csv" for name in MEMBERS})
    found = inputs.labelled(rows, members, "validation", 0)
    assert found.absent == ["F"]
    assert "none of class F" in inputs.describe(found)


def test_utterances_without_predictions_are_named(corpus) -> None:
    rows = pd.read_parquet(corpus / "manifest.parquet")
    members = voting.read_members({name: corpus / name / "preds.csv" for name in MEMBERS})
    members = {name: table[table["Split"] != "development"] for name, table in members.items()}
    with pytest.raises(UserError, match="80 utterances"):
        inputs.labelled(rows, members, "development", 0)
