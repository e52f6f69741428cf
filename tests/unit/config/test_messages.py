"""Mistakes in a configuration are told wherever they stand: in the configurations that come along."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from abhinaya import config
from abhinaya.runtime.errors import UserError

ROOT = Path(__file__).parents[3]
CONFIGURATIONS = [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]
DEMO = json.loads(json.dumps(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))  # without aliases
MANUAL = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def told(values: Any) -> str:
    with pytest.raises(UserError) as caught:
        config.validate(values)
    return str(caught.value)


FREE = ("config", "beats_config", "qformer", "arguments")  # sections whose keys are another package's


def places(values: Any, *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where mappings stand in a configuration."""
    if isinstance(values, dict):
        yield place
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inside:
        yield from places(value, *place, key)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_an_unknown_key_is_told_wherever_it_stands(path: Path) -> None:
    text = json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))  # aliases become copies
    for place in places(json.loads(text)):
        values = json.loads(text)
        reduce(getitem, place, values)["lucky_number"] = 3
        if place[-1:] and place[-1] in FREE:
            config.validate(values)
        else:
            key = ".".join(map(str, (*place, "lucky_number")))
            assert re.fullmatch(rf"configuration: `{re.escape(key)}`: (unknown key; .*|must be .*)", told(values))


@pytest.mark.parametrize(
    ("key", "wrong", "fix"),
    [
        ("tables.zero_shot", "model", "did you mean `models`?"),
        ("tables.losses", "system", "did you mean `systems`?"),
        ("tables.losses.losses.1", "gama", "did you mean `gamma`?"),
        ("systems.t9.endpoint", "api_key", "choose from url, key_variable, structured_output, parameters"),
    ],
)
def test_sections_that_may_be_left_out_or_stand_in_lists_know_their_keys(key: str, wrong: str, fix: str) -> None:
    values = deepcopy(DEMO)
    hosted = {"family": "zero_shot", "model": "m", "endpoint": {"url": "https://localhost/v1"}}
    values["systems"]["t9"] = hosted
    values["tables"]["losses"]["losses"] = [{"name": "wce"}, {"name": "wfl"}]
    place = [int(part) if part.isdigit() else part for part in key.split(".")]
    reduce(getitem, place, values)[wrong] = 1
    assert told(values) == f"configuration: `{key}.{wrong}`: unknown key; {fix}"


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        (
            "modalities",
            ["st1", "s2_7b"],
            "the first must take speech alone, the second speech and transcript; put them in this order",
        ),
        (
            "modalities",
            ["s2", "s2_7b"],
            "the first must take speech alone, the second speech and transcript; put them in this order",
        ),
        ("modalities", ["s1", "st1"], "'s1' is none of s2, st1, s2_7b"),
        ("modalities", ["s2_7b", "salmonn_zero_shot"], "'salmonn_zero_shot' is none of s2, st1, s2_7b"),
        ("speech_zero_shot", "t1", "'t1' is none of salmonn_zero_shot"),
    ],
)
def test_a_table_takes_systems_of_its_kind(key: str, value: Any, fix: str) -> None:
    values = deepcopy(DEMO)
    values["tables"][key] = value
    assert told(values) == f"configuration: `tables.{key}`: {fix}"


def test_the_reference_names_the_folders_that_no_system_may_have() -> None:
    told = " ".join(MANUAL.split("### `systems.NAME`")[1].split("###")[0].split())
    listed = [f"`{name}`" for name in config.RESERVED]
    assert f"not {', '.join(listed[:-1])} or {listed[-1]}, which are folders of results" in told
