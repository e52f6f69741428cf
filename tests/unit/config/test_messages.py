"""Messages about invalid keys, anywhere in the shipped configurations."""

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
from support.configurations import error_of
from support.messages import assert_names

ROOT = Path(__file__).parents[3]
CONFIGURATIONS = [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]
DEMO = json.loads(json.dumps(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))  # without aliases
MANUAL = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


FREE = ("config", "beats_config", "qformer", "arguments")  # sections with keys of other packages


def places(values: Any, *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """The paths of all mappings in a configuration."""
    if isinstance(values, dict):
        yield place
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inside:
        yield from places(value, *place, key)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_unknown_key_is_reported_anywhere(path: Path) -> None:
    text = json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))  # aliases become copies
    for place in places(json.loads(text)):
        values = json.loads(text)
        reduce(getitem, place, values)["unknown_key"] = 3
        if place[-1:] and place[-1] in FREE:
            config.validate(values)
        else:
            key = ".".join(map(str, (*place, "unknown_key")))
            assert re.fullmatch(rf"configuration: `{re.escape(key)}`: (unknown key; .*|must be .*)", error_of(values))


@pytest.mark.parametrize(
    ("key", "wrong", "fix"),
    [
        ("tables.zero_shot", "model", "`models`"),
        ("tables.losses", "system", "`systems`"),
        ("tables.losses.losses.1", "gama", "`gamma`"),
        ("systems.t9.endpoint", "api_key", "url, key_variable, structured_output, parameters"),
    ],
)
def test_unknown_key_in_optional_sections_and_lists(key: str, wrong: str, fix: str) -> None:
    values = deepcopy(DEMO)
    hosted = {"family": "zero_shot", "model": "m", "endpoint": {"url": "https://localhost/v1"}}
    values["systems"]["t9"] = hosted
    values["tables"]["losses"]["losses"] = [{"name": "wce"}, {"name": "wfl"}]
    place = [int(part) if part.isdigit() else part for part in key.split(".")]
    reduce(getitem, place, values)[wrong] = 1
    assert_names(error_of(values), f"`{key}.{wrong}`: unknown key", fix)


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("modalities", ["st1", "s2_7b"], ["order"]),
        ("modalities", ["s2", "s2_7b"], ["order"]),
        ("modalities", ["s1", "st1"], ["'s1'", "s2, st1, s2_7b"]),
        ("modalities", ["s2_7b", "salmonn_zero_shot"], ["'salmonn_zero_shot'", "s2, st1, s2_7b"]),
        ("speech_zero_shot", "t1", ["'t1'", "salmonn_zero_shot"]),
    ],
)
def test_tables_need_systems_of_their_kind(key: str, value: Any, parts: list[str]) -> None:
    values = deepcopy(DEMO)
    values["tables"][key] = value
    assert_names(error_of(values), f"`tables.{key}`: ", *parts)


def test_reference_lists_the_reserved_names() -> None:
    text = " ".join(MANUAL.split("### `systems.NAME`")[1].split("###")[0].split())
    listed = [f"`{name}`" for name in config.RESERVED]
    assert f"not {', '.join(listed[:-1])} or {listed[-1]}, which are folders of results" in text
