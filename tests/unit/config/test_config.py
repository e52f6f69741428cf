"""The configuration: valid and invalid values, its schema and its reference."""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from snakemake.utils import update_config

from abhinaya import config
from abhinaya.config import reference, yaml_file
from abhinaya.config.base import Section, settings_json
from abhinaya.config.corpora import AnyCorpus
from abhinaya.config.system import SpeechSystem
from abhinaya.config.transcripts import Transcripts
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support.configurations import BASE, REMOVE, SPEECH, VOTE, changed, error_of
from support.messages import assert_names

ROOT = Path(__file__).parents[3]
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MANUAL = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
SCHEMA = files.read_json(ROOT / "config" / "schema" / "config.schema.json")


# One invalid key: the value, and what the message must name

LETTERS_NAMED = ("'A'", "'U'")
SCHEMA_ERRORS = {  # errors that the JSON Schema finds, too
    # unknown keys: the closest of that section, or all of that section
    "sead": (3, "unknown key", "`seed`"),
    "Seed": (3, "unknown key", "`seed`"),
    "unknown_key": (
        3,
        "unknown key",
        "seed, environment, corpus, transcripts, systems, ensembles, seeds, tables, report",
    ),
    "corpus.validaton_per_class": (3, "unknown key", "`validation_per_class`"),
    "corpus.resources.gpus": (1, "unknown key", "`gpu`"),
    "systems.s1.encoder.min_second": (1.0, "unknown key", "`min_seconds`"),
    "systems.s1.loss.gama": (1.0, "unknown key", "`gamma`"),
    "systems.s1.loss.tau": (1.0, "unknown key", "name, gamma, reduction"),
    "systems.s1.epochs": (3, "unknown key", "description, loss, fine_tuned, training", "family, encoder, head"),
    "ensembles.vote.tiebreak": ("s1", "unknown key", "`tie_break`"),
    "corpus.train.Z": (3, "unknown key", *LETTERS_NAMED),
    # wrong types
    "seed": ("one", "whole number", "'one'"),
    "report.bootstrap": (1000.5, "whole number", "1000.5"),
    "report.title": (2025, "text", "2025", "quotes"),
    "transcripts.speech_detection": (1, "true or false", "1"),
    "transcripts.temperatures": (0.2, "list", "0.2"),
    "transcripts.batch_size": (True, "whole number", "True"),
    "corpus": ([], "mapping", "[]"),
    "transcripts": (None, "mapping", "None"),
    "systems.s2": (3, "mapping", "3"),
    "systems.s1.loss": (["wfl"], "mapping", "['wfl']"),
    "corpus.train": ([60], "mapping", "[60]"),
    # numbers that YAML or the command line reads as text
    "systems.s1.training.learning_rate": ("1e-5", "number", "YAML reads 1e-5 as text", "1.0e-05"),
    "corpus.min_seconds": ("1.0e0", "number", "YAML reads 1.0e0 as text", "1.0"),
    "systems.s1.training.epochs": ("3", "whole number", "'3'", "--config"),
    "systems.s1.training.gradient_checkpointing": ("true", "true or false", "'true'", "--config"),
    # wrong values
    "systems.baseline.training.epochs": (0, "greater than or equal to 1", "0"),
    "systems.baseline.training.learning_rate": (float("inf"), "finite", "inf"),
    "environment": ("tpu", "'cpu' or 'gpu'", "'tpu'"),
    "corpus.validation.per_class": ("few", "'smallest' or 'all' or a whole number", "'few'"),
    "corpus.kind": ("voices", "'csv'", "'ravdess'", "'synthetic'", "'voices'"),
    "systems.s1.family": ("speach", "'speech', 'text', 'salmonn', 'zero_shot', 'salmonn_zero_shot'", "'speach'"),
    "ensembles.vote.members": ([], "empty"),
    "systems.s1.encoder.model": ("", "empty"),
    "transcripts.compute_type": ("fp16", "'default'", "'float16'", "'fp16'"),
    "systems.S1": (SPEECH, "lower-case"),
    "systems.my model": (SPEECH, "lower-case"),
    "ensembles.2nd": (VOTE, "lower-case"),
    "systems": ({}, "empty"),
}
CROSS_ERRORS = {  # keys that do not agree with others
    "transcripts.path": ("mine.parquet", "`source: whisperx`", "`source: parquet`"),
    "systems.s1.encoder.config": ({"hidden_size": 8}, "`random:`"),
    "systems.s1.encoder.min_seconds": (20.0, "20.0", "`max_seconds` 10.0"),
    "systems.s1.training.effective_batch": (20, "20", "batch_size x gpu x nodes = 8"),
    "ensembles.s1": (VOTE, "'s1'"),
    "ensembles.corpus": (VOTE, "reserved"),
    "systems.report": (SPEECH, "reserved"),
    "tables.systems.analysis": (SPEECH, "reserved"),
    "tables.systems.s1": (SPEECH, "'s1'"),
    "tables.combinations.vote": (VOTE, "'vote'"),
    "tables.submitted.vote": (VOTE, "'vote'"),
    "tables.components": (["s1", "s9"], "'s9'", "baseline, s1, s1_vs, vote"),
    "tables.modalities": (["s1"], "1 systems", "two"),
    "tables.losses": ({"systems": ["s1"]}, "'s1_vs'"),
    "tables.speech_zero_shot": ("s1", "'s1'", "`family`"),
    "seeds": ([1, 1], "1"),
    "ensembles.vote.tie_break": ("s3", "'s3'", "baseline, s1, s1_vs"),
}
NESTED_ERRORS = {  # errors that are reported for another key than the changed one
    "corpus.classes": (["A", "Z"], "corpus.classes.1", *LETTERS_NAMED, "'Z'"),
    "systems.s1_vs.loss": ({"name": "ce"}, "systems.s1_vs.loss.name", "'wce', 'wfl', 'vs'", "'ce'"),
    "transcripts.source": ("parquet", "transcripts.path", "missing", "`source: parquet`"),
    "systems.s1.encoder": ({}, "systems.s1.encoder.model", "missing"),
    "tables.combinations.two": (
        {"members": ["s9"], "tie_break": "s9"},
        "tables.combinations.two.members",
        "'s9'",
        "baseline, s1, s1_vs",
    ),
    "tables.submitted.two": (
        {"members": ["s1"], "tie_break": "s9"},
        "tables.submitted.two.tie_break",
        "'s9'",
        "s1",
    ),
    "tables.zero_shot": ({"models": ["s1"]}, "tables.zero_shot.models", "'s1'", "`family`"),
}
INVALID = [(key, key, value, parts) for key, (value, *parts) in (SCHEMA_ERRORS | CROSS_ERRORS).items()]
INVALID += [(key, reported, value, parts) for key, (value, reported, *parts) in NESTED_ERRORS.items()]


@pytest.mark.parametrize(("key", "reported", "value", "parts"), INVALID, ids=[case[0] for case in INVALID])
def test_invalid_value_is_reported_in_one_line(key: str, reported: str, value: Any, parts: list[str]) -> None:
    without_votes = [("ensembles", {})] if key == "systems" else []
    message = error_of(changed(*without_votes, (key, value)))
    assert_names(message.removeprefix(f"configuration: `{reported}`: "), *parts)
    assert message.startswith(f"configuration: `{reported}`: ")


@pytest.mark.parametrize("key", ["corpus", "systems", "systems.s1.encoder", "corpus.kind", "ensembles.vote.tie_break"])
def test_missing_key_is_reported(key: str) -> None:
    message = error_of(changed((key, REMOVE), *[("ensembles", {})] * (key == "systems")))
    assert_names(message, f"configuration: `{key}`: missing")


@pytest.mark.parametrize("values", [None, [], "seed: 1", 3])
def test_configuration_must_be_a_mapping(values: Any) -> None:
    assert_names(error_of(values), "configuration: ", "mapping", repr(values))


def test_effective_batch_includes_gpus() -> None:
    training = ("systems.s1.training", {"effective_batch": 32, "batch_size": 8})
    config.validate(changed(training, ("systems.s1.resources.gpu", 4)))
    message = error_of(changed(training, ("systems.s1.resources.gpu", 3)))
    assert_names(message, "`systems.s1.training.effective_batch`: 32 ", "batch_size x gpu x nodes = 24")


@pytest.mark.parametrize(
    ("members", "parts"),
    [(["s1", "s9"], ["'s9'", "baseline, s1, s1_vs"]), (["s1", "s1"], ["duplicate"])],
)
def test_members_are_unique_systems(members: list[str], parts: list[str]) -> None:
    assert_names(error_of(changed(("ensembles.vote.members", members))), "`ensembles.vote.members`: ", *parts)


@pytest.mark.parametrize("kind", ["", "foo", "Whisper"])
def test_random_weights_need_a_known_architecture(kind: str) -> None:
    message = error_of(changed(("systems.baseline.encoder", {"model": f"random:{kind}"})))
    assert_names(message, "`systems.baseline.encoder.model`: ", repr(kind), "random:wavlm", "random:whisper")


def test_temperatures_are_not_negative() -> None:
    message = error_of(changed(("transcripts.temperatures", [0, -0.2])))
    assert_names(message, "`transcripts.temperatures.1`: ", "-0.2")


@pytest.mark.parametrize("kind", ["synthetic", "msp_podcast", "ravdess", "csv"])
def test_duplicate_class_is_reported(kind: str) -> None:
    required = {
        "msp_podcast": {"root": "r"},
        "ravdess": {"root": "r", "train_actors": [1], "validation_actors": [2], "test_actors": [3]},
        "csv": {"table": "t.csv"},
    }
    corpus = {"kind": kind, "classes": ["A", "H", "A"]} | required.get(kind, {})
    assert_names(error_of(changed(("corpus", corpus))), "`corpus.classes`: ", "'A'")


def test_synthetic_class_needs_a_count() -> None:
    assert_names(error_of(changed(("corpus.classes", ["A", "H", "N"]))), "`corpus.train`: ", "H")
    config.validate(changed(("corpus.classes", ["A"])))  # counts of other classes are ignored


@pytest.mark.parametrize(
    ("actors", "key", "parts"),
    [
        ({"validation_actors": []}, "validation_actors", ["empty"]),
        ({"test_actors": [3, 1]}, "test_actors", ["actor 1", "`train_actors`"]),
    ],
)
def test_each_actor_has_one_role_and_each_role_has_actors(actors: dict, key: str, parts: list[str]) -> None:
    corpus = {"kind": "ravdess", "root": "r", "train_actors": [1], "validation_actors": [2], "test_actors": [3]}
    assert_names(error_of(changed(("corpus", corpus | actors))), f"`corpus.{key}`: ", *parts)


@pytest.mark.parametrize("role", ["train", "development", "test"])
def test_each_role_needs_a_partition(role: str) -> None:
    partitions = {name: name for name in ("train", "development", "test") if name != role}
    corpus = {"kind": "msp_podcast", "root": "r", "partitions": partitions}
    assert_names(error_of(changed(("corpus", corpus))), "`corpus.partitions`: ", f"`{role}`")


def test_tie_breaker_must_be_a_member() -> None:
    values = changed(("ensembles.vote.members", ["baseline", "s1_vs"]))
    assert_names(error_of(values), "`ensembles.vote.tie_break`: 's1'", "baseline, s1_vs")


def test_every_error_has_its_own_line() -> None:
    lines = error_of(changed(("sead", 3), ("corpus.kind", "x"), ("report.bootstrap", "y"))).splitlines()
    assert [line.removeprefix("error: ").split(": ")[1] for line in lines] == [
        "`corpus.kind`",
        "`report.bootstrap`",
        "`sead`",
    ]
    assert all(line.startswith("error: ") for line in lines[1:])


def test_key_that_is_not_text_is_reported() -> None:
    values = deepcopy(BASE)
    values["systems"][False] = SPEECH  # in YAML: no
    values[2025] = None
    first, second = error_of(values).splitlines()
    assert_names(first, "`systems.False`: ", "quotes")
    assert_names(second, "`2025`: ", "quotes")


def test_long_value_is_abbreviated() -> None:
    assert len(error_of(changed(("seed", "x" * 1000)))) < 100


def places(values: Any, place: tuple = ()) -> Iterator[tuple]:
    """The path of every value in `values`."""
    for part in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield (*place, part)
        yield from places(values[part], (*place, part))


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1e-5", "s1"])
)
YAML = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SCALARS, inner, max_size=2))


@given(place=st.sampled_from(list(places(BASE))), key=SCALARS, value=YAML, replace=st.booleans())
def test_any_value_is_accepted_or_reported(place: tuple, key: Any, value: Any, replace: bool) -> None:
    values = deepcopy(BASE)
    inner = values
    for part in place[:-1]:
        inner = inner[part]
    if replace:
        inner[place[-1]] = value
    elif isinstance(inner, dict):
        inner[key] = value
    try:
        config.validate(values)
    except UserError as error:
        lines = f"error: {error}".splitlines()
        assert all(re.match(r"error: configuration: `.+`: .*[^,;: ]$", line) for line in lines)


# Reading files and sections


@pytest.mark.parametrize(("content", "value"), [("", "None"), ("- a", "['a']"), ("seed 3", "'seed 3'")])
def test_file_without_keys_is_reported(tmp_path: Path, content: str, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as raised:
        config.load(path)
    assert_names(str(raised.value), str(path), "mapping", value)


def test_missing_or_invalid_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(UserError, match=r"c\.yaml: .*not found"):
        config.load(path)
    path.write_text("seed: [")
    with pytest.raises(UserError, match=r"c\.yaml: not YAML \(.*line 1") as raised:
        config.load(path)
    assert "\n" not in str(raised.value)


def test_section_is_read_from_json_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("{source: corpus, shards: 2}")
    assert config.parse(Transcripts, str(path)) == config.parse(Transcripts, '{"source": "corpus", "shards": 2}')
    for settings, fix in {
        "missing.yaml": "'missing.yaml'",
        "{": "JSON",
        '{"shard": 2}': "`shards`",
    }.items():
        with pytest.raises(UserError, match=fix) as raised:
            config.parse(Transcripts, settings, "transcripts")
        assert str(raised.value).startswith("transcripts: ")
    with pytest.raises(UserError, match=r"^corpus: `tabel`: .*`table`"):
        config.parse(AnyCorpus, {"kind": "csv", "table": "t.csv", "tabel": "t.csv"}, "corpus")


def test_settings_json_round_trip_without_non_result_keys() -> None:
    system = config.validate(BASE).systems["s1"]
    text = settings_json(system)
    assert "description" not in text and "resources" not in text
    assert config.parse(SpeechSystem, text) == system.model_copy(
        update={"description": "", "resources": type(system.resources)()}
    )


# Schema and reference


def configurations() -> list[Path]:
    return [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]


def sections() -> list[type[Section]]:
    """The sections with keys of their own, not only inherited ones."""

    def below(section: type[Section]) -> Iterator[type[Section]]:
        for child in section.__subclasses__():
            yield child
            yield from below(child)

    return [section for section in below(Section) if section.__annotations__.keys() & section.model_fields.keys()]


def paths(annotation: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key under a model; NAME is a placeholder for configured names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        for key, field in annotation.model_fields.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            named = getattr(annotation.__annotations__.get(key), "__origin__", None) is dict
            yield from paths(field.annotation, f"{path}.NAME" if named else path)
    else:
        for part in get_args(annotation):
            yield from paths(part, prefix)


def test_schema_file_is_current() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert config.schema() == SCHEMA, "run `make schema`"


@pytest.mark.parametrize("path", configurations(), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config.load(path)
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("key", SCHEMA_ERRORS)
def test_schema_rejects_invalid_keys(key: str) -> None:
    value, *parts = SCHEMA_ERRORS[key]
    valid = Draft202012Validator(SCHEMA).is_valid(changed((key, value)))
    assert valid == ("finite" in parts)  # JSON has no infinity


def test_reference_has_the_current_table_of_every_section() -> None:
    assert sorted(found[2] for found in reference.MARKED.finditer(MANUAL)) == sorted(
        section.__name__ for section in sections()
    )
    assert reference.filled(MANUAL) == MANUAL, "run `make schema`"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_documented_defaults_equal_the_models_defaults(section: type[Section]) -> None:
    (found,) = (found[0] for found in reference.MARKED.finditer(MANUAL) if found[2] == section.__name__)
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in found.splitlines()[3:-1]]
    assert [row[0].strip("`") for row in rows] == [
        key for key in section.__annotations__ if key in section.model_fields
    ]
    for key, _, default, meaning in rows:
        field = section.model_fields[key.strip("`")]
        assert meaning
        if field.is_required():
            assert default == "required"
        elif isinstance(field.default, Section):
            given = {} if default == "–" else yaml.safe_load(default.strip("`"))
            assert type(field.default)(**given) == field.default
        else:
            written = yaml.safe_load(default.strip("`"))
            assert TypeAdapter(field.annotation).validate_python(written) == field.default


@pytest.mark.parametrize("text", [README, MANUAL], ids=["config/README.md", "docs/configuration.md"])
def test_reference_names_only_existing_keys(text: str) -> None:
    known = [f".{path}" for path in paths(config.Config)]
    mentioned = re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", reference.MARKED.sub("", text))
    mentioned = [key.removesuffix(".NAME") for key in mentioned if not key.endswith((".yaml", ".json", ".csv"))]
    assert len(mentioned) >= 5  # else the pattern misses them
    assert [key for key in mentioned if not any(path.endswith(f".{key}") for path in known)] == []


EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", README + MANUAL, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_reference_are_valid(example: str) -> None:
    values = yaml.safe_load(example)
    if "corpus" not in values:  # merged into the demo configuration, as Snakemake does
        merged = deepcopy(DEMO)
        update_config(merged, values)
        assert merged != DEMO
        values = merged
    config.validate(values)
    Draft202012Validator(SCHEMA).validate(values)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 7\nseed: 8\n", 2),
        ("systems:\n  s1: {}\n  s2: {}\n  s1: {}\n", 4),
        ("systems: {s1: {}, s1: {}}", 1),
        ("a: [{b: 1, b: 1}]", 1),
        ("1: a\n1: b", 2),
        ("a: 1\n'a': 2", 2),
    ],
)
def test_a_key_given_twice_is_reported_with_its_line(text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"c\.yaml: line {line}: duplicate key"):
        config.load(path)
    with pytest.raises(SystemExit, match=rf"^error: .*c\.yaml: line {line}: "):
        yaml_file.check_or_exit([path])


def test_merged_keys_may_be_replaced() -> None:
    assert yaml_file.loads("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}", "here")["b"] == {"x": 3, "y": 2}


def test_a_key_given_twice_in_json_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="duplicate key 'model'"):
        config.parse(Transcripts, '{"model": "a", "model": "b"}')
    (tmp_path / "c.json").write_text('{"seed": 1, "seed": 2}')
    with pytest.raises(UserError, match=r"c\.json: duplicate key 'seed'"):
        config.load(tmp_path / "c.json")


def test_another_encoding_and_a_folder_are_reported(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("seed: 1\n# Stra\u00dfe".encode("latin-1"))
    with pytest.raises(UserError, match=r"c\.yaml: line 2 is not UTF-8"):
        config.load(tmp_path / "c.yaml")
    with pytest.raises(UserError, match="is not a file"):
        config.load(tmp_path)


def test_home_is_expanded_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the workflow would not watch the file that the corpus is read from."""
    monkeypatch.setenv("HOME", "/home/me")
    corpus = {"kind": "csv", "table": "~/c.csv", "root": "~", "validation": {"files": "~/v.txt"}}
    parsed = config.parse(AnyCorpus, corpus)
    assert parsed.label_files == ["/home/me/v.txt", "/home/me/c.csv"] and parsed.root == "/home/me"
    assert config.parse(Transcripts, {"source": "parquet", "path": "~/t.parquet"}).path == "/home/me/t.parquet"


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"shards": 1_000_000_000}, "shards"), ({"source": "parquet", "path": "/a/{b}.parquet"}, "path")],
)
def test_impossible_transcripts_are_reported(settings: dict, key: str) -> None:
    with pytest.raises(UserError, match=f"`{key}`"):
        config.parse(Transcripts, settings)
