"""The configuration of fusions and of external predictions."""

from typing import Any

import pytest

from abhinaya import config
from abhinaya.config import features, paper_runs, runs
from abhinaya.config.base import settings_json
from abhinaya.config.ensemble import Ensemble, Fusion
from abhinaya.evaluation.fusion.rule import Method
from support.configurations import BASE, error_of
from support.messages import assert_names

FUSED = {"rule": "weighted", "members": ["s1", "theirs"]}
EXTERNAL = {"family": "external", "preds": "theirs.csv"}


def values(fused: Any = FUSED, **changes: Any) -> dict:
    ensembles = BASE["ensembles"] | {"fused": fused}
    return BASE | {"ensembles": ensembles, "systems": BASE["systems"] | {"theirs": EXTERNAL}} | changes


def test_without_a_rule_an_ensemble_votes_as_before() -> None:
    found = config.validate(BASE)
    vote = found.ensembles["vote"]
    assert isinstance(vote, Ensemble)
    assert (
        vote
        == config.validate(BASE | {"ensembles": {"vote": {"rule": "vote", **BASE["ensembles"]["vote"]}}}).ensembles[
            "vote"
        ]
    )
    assert settings_json(vote) == '{"members":["baseline","s1","s1_vs"],"tie_break":"s1","tie_rule":"label"}'
    assert not found.predicts_development


def test_a_fusion_is_configured_by_its_rule() -> None:
    fused = config.validate(values()).ensembles["fused"]
    assert isinstance(fused, Fusion)
    assert (fused.calibration, fused.prior_correction, fused.fit_on) == ("temperature", False, "validation")


def test_development_is_predicted_only_if_a_fusion_is_fitted_on_it() -> None:
    assert not config.validate(values()).predicts_development
    assert config.validate(values(FUSED | {"fit_on": "development"})).predicts_development


def test_fusions_of_other_seeds_have_the_members_of_that_seed() -> None:
    found = runs.ensembles(config.validate(values(seeds=[1, 2])))
    assert found["fused_seed2"].members == ["s1_seed2", "theirs"]
    assert found["fused_seed2"].rule == "weighted"


def test_the_papers_tables_of_votes_have_no_fusion() -> None:
    found = config.validate(values())
    assert list(paper_runs.votes(found)) == ["vote"]
    assert "fused" in paper_runs.tables(found)["table1"]
    assert paper_runs.settings(found).count("fused") == 1  # among the components


def test_external_predictions_have_no_features() -> None:
    found = config.validate(values())
    assert features.of(found.systems["theirs"], 1) is None


@pytest.mark.parametrize(
    ("method", "is_fitted"),
    [
        (("mean", "none", False), False),
        (("log_mean", "none", True), True),
        (("mean", "temperature", False), True),
        (("stacking", "none", False), True),
    ],
)
def test_what_is_fitted(method: tuple, is_fitted: bool) -> None:
    keys = dict(zip(("rule", "calibration", "prior_correction"), method, strict=True))
    assert Fusion(members=["a", "b"], **keys).is_fitted == Method(*method).is_fitted == is_fitted


@pytest.mark.parametrize(
    ("fused", "parts"),
    [
        (FUSED | {"rule": "median"}, ("`ensembles.fused.rule`", "'weighted'", "'median'")),
        (FUSED | {"members": ["s1"]}, ("`ensembles.fused.members`", "two")),
        (FUSED | {"members": ["s1", "s1"]}, ("`ensembles.fused.members`", "'s1'")),
        (FUSED | {"members": ["s1", "s9"]}, ("`ensembles.fused.members`", "'s9'")),
        (FUSED | {"tie_break": "s1"}, ("`ensembles.fused.tie_break`", "unknown key")),
        (FUSED | {"fit_on": "test"}, ("`ensembles.fused.fit_on`", "'test'")),
        (FUSED | {"calibration": "platt"}, ("`ensembles.fused.calibration`", "'platt'")),
        ({"members": ["s1", "theirs"]}, ("`ensembles.fused.tie_break`", "missing")),
        ("s1", ("`ensembles.fused`", "mapping")),
    ],
)
def test_a_wrong_fusion_is_one_line(fused: Any, parts: tuple[str, ...]) -> None:
    message = error_of(values(fused))
    assert len(message.splitlines()) == 1
    assert_names(message, *parts)


def test_external_predictions_need_their_file() -> None:
    assert_names(error_of(values(systems=BASE["systems"] | {"theirs": {"family": "external"}})), "systems.theirs.preds")
