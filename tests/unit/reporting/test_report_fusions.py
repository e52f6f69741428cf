"""The report's section on fusions: from the files of fit_fusion.py to the page."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

import fit_fusion
from abhinaya.data import schemas
from abhinaya.evaluation import metrics
from abhinaya.reporting import report
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import write_json
from support.fusion_parts import manifest, sample, tables
from support.report_parts import parse, section, text_of

MEMBERS = ["a", "b"]
METHODS = ("mean", "log_mean", "weighted")  # the others take time


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder with a fitted fusion of two members, and their scores."""
    folder = tmp_path_factory.mktemp("results")
    parts = {split: sample(60, (1.0, 1.6), seed, speakers=12) for seed, split in enumerate(("validation", "test"))}
    rows = pd.concat([manifest(part, split) for split, part in parts.items()], ignore_index=True)
    schemas.write_manifest(rows, folder / "manifest.parquet")
    for name in MEMBERS:
        made = pd.concat([tables(part, MEMBERS, split)[name] for split, part in parts.items()]).reset_index()
        schemas.write_predictions(made, folder / name / "preds.csv")
    methods = fit_fusion.steps.methods
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_fusion.steps, "methods", lambda chosen: {name: methods(chosen)[name] for name in METHODS})
        settings = json.dumps({"rule": "weighted", "members": MEMBERS})
        paths = {"output": "preds.csv", "submission": "submission.csv", "description": "ensemble.json"}
        options = [str(part) for key, name in paths.items() for part in (f"--{key}", folder / "fused" / name)]
        preds = [str(folder / name / "preds.csv") for name in MEMBERS]
        options += ["--tables", str(folder / "fused/fusion"), "--manifest", str(folder / "manifest.parquet")]
        patch.setattr(sys, "argv", ["fit_fusion.py", "--settings", settings, *options, "--preds", *preds])
        fit_fusion.main()
    for name in (*MEMBERS, "fused"):
        predictions = schemas.read_predictions(folder / name / "preds.csv")
        write_json(metrics.score(rows, predictions, resamples=20), folder / name / "scores.json")
    return folder


def inputs_of(results: Path, **changes) -> report.Inputs:
    scores = {name: results / name / "scores.json" for name in (*MEMBERS, "fused")}
    options = {"fusions": [results / "fused/ensemble.json"], "descriptions": {"a": "of another program"}}
    return report.read("Title", scores, [], [], [], **options | changes)


@pytest.fixture(scope="module")
def html(results) -> str:
    return report.render(inputs_of(results))


def test_the_page_is_valid_and_has_every_step(html, results) -> None:
    parse(html)
    text = text_of(section(html, "fusion"))
    for words in (
        "fused",
        "vote",
        "best member",
        "log-mean",
        "weighted",
        "minus the vote",
        "cross-fitted",
        "configured",
    ):
        assert words in text
    table = pd.read_csv(results / "fused/fusion/steps.csv").set_index(["split", "step"])
    assert f"{100 * table.loc[('test', 'weighted'), 'macro_f1']:.2f}" in text


def test_it_says_what_was_fitted_on_and_that_scores_are_cross_fitted(html) -> None:
    text = text_of(section(html, "fusion"))
    assert "Fitted on 60 utterances (60 of validation)" in text
    assert "scores on validation are cross-fitted" in text


def test_shares_and_reliability_are_shown_before_and_after(html, results) -> None:
    page = section(html, "fusion")
    shares = pd.read_csv(results / "fused/fusion/class_shares.csv").set_index(["split", "step", "class"])
    for step in ("vote", "log_mean", "weighted"):
        assert f"{100 * shares.loc[('test', step, 'A'), 'predicted']:.2f}" in text_of(page)
    assert page.count("reliability of fused") == 4  # two splits, before and after


def test_the_members_of_a_fusion_and_of_other_programs_are_described(results) -> None:
    text = report.score_table(inputs_of(results)).markdown()
    assert "weighted of a b" in text
    assert "of another program" in text


def test_without_a_fusion_the_page_has_no_section(results) -> None:
    assert 'id="fusion"' not in report.render(inputs_of(results, fusions=[]))


@pytest.mark.parametrize("file", ["fusion/steps.csv", "ensemble.json"])
def test_a_missing_file_is_one_line(results, tmp_path, file) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results/fused" / file).unlink()
    with pytest.raises(UserError, match=file):
        inputs_of(tmp_path / "results")


def test_a_fusion_must_be_among_the_names(results) -> None:
    scores = {name: results / name / "scores.json" for name in MEMBERS}
    with pytest.raises(UserError, match="'fused' is not in --names"):
        report.read("Title", scores, [], [], [], fusions=[results / "fused/ensemble.json"])
