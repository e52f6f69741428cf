"""The report compares each trained system with its probe, and names the systems that have none."""

import pandas as pd
import pytest

from abhinaya.reporting.report import summary
from abhinaya.reporting.report.inputs import ANALYSIS, Inputs
from abhinaya.reporting.report.probes import probes, without_probe


def config(kind: str, freeze: str = "all", model: str = "whisper") -> dict:
    settings = {
        "encoder": {"model": model, "freeze": freeze},
        "head": {"kind": kind},
        "training": {"precision": "auto"},
    }
    return {"settings": settings}


def inputs(**configs: dict) -> Inputs:
    return Inputs("title", {}, configs)


def test_a_system_has_the_logistic_probe_of_its_encoder() -> None:
    found = inputs(
        s1=config("mlp"),
        svm=config("svm"),
        lr=config("logistic"),
        other=config("mlp", model="wavlm"),
        tuned=config("mlp", freeze="convolutions"),
    )
    assert probes(found) == {"s1": "lr"}
    assert without_probe(found).startswith("tuned has no probe")


def test_settings_of_an_external_system_have_no_probe() -> None:
    found = inputs(s1={"settings": {"encoder": {"model": "x"}}})
    assert (probes(found), without_probe(found)) == ({}, "")


@pytest.mark.parametrize(
    ("trained", "expected"), [(0.55, "5.0 points above"), (0.5, "as much as"), (0.4, "10.0 points below")]
)
def test_the_summary_compares_a_system_with_its_probe(trained: float, expected: str) -> None:
    scores = {
        name: {"validation": None, "test": {"n": 100, "macro_f1": value, "macro_f1_interval": [0.3, 0.7]}}
        for name, value in (("s1", trained), ("s1_probe", 0.5))
    }
    row = dict.fromkeys(" ".join(ANALYSIS["significance"]).split(), float("nan"))
    row |= {"split": "test", "a": "s1", "b": "s1_probe", "difference": trained - 0.5, "low": -0.1, "high": 0.1}
    found = Inputs("title", scores, {"s1": config("mlp"), "s1_probe": config("logistic")})
    found.analysis["significance"] = pd.DataFrame([row])
    (sentence,) = (each for each in summary.results(found) if each.startswith("s1 reaches"))
    assert expected in sentence and "logistic regression" in sentence
