"""The configuration: what is accepted, what each mistake is told, and that schema and manual say the same."""

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
from abhinaya.config import features, reference
from abhinaya.config.base import Section, settings_json
from abhinaya.config.corpus import AnyCorpus
from abhinaya.config.system import SpeechSystem
from abhinaya.config.transcripts import Transcripts
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

ROOT = Path(__file__).parents[3]
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MANUAL = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
SCHEMA = files.read_json(ROOT / "config" / "schema" / "config.schema.json")
SPEECH = {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wce"}}
VOTE = {"members": ["s1"], "tie_break": "s1"}
BASE = {
    "seed": 1,
    "corpus": {"kind": "synthetic", "train": {"A": 60, "N": 90}, "classes": ["A", "N"]},
    "transcripts": {"source": "whisperx", "model": "tiny", "temperatures": [0.2, 1.0]},
    "systems": {
        "baseline": SPEECH,
        "s1": {
            "family": "speech",
            "description": "listens",
            "encoder": {"model": "/models/wavlm", "max_seconds": 10.0},
            "loss": {"name": "wfl", "gamma": 2.0},
            "training": {"batch_size": 8},
            "resources": {"gpu": 1},
        },
        "s1_vs": SPEECH | {"loss": {"name": "vs"}},
    },
    "ensembles": {"vote": {"members": ["baseline", "s1", "s1_vs"], "tie_break": "s1"}},
}
REMOVE = object()


def changed(*changes: tuple[str, Any]) -> dict:
    """BASE with `value` at each dotted `key`; REMOVE takes the key out."""
    values = deepcopy(BASE)
    for key, value in changes:
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
        if value is REMOVE:
            del inner[last]
    return values


def told(values: Any) -> str:
    with pytest.raises(UserError) as raised:
        config.validate(values)
    return str(raised.value)


# What one wrong key is told

CHOICE = "'A', 'C', 'D', 'F', 'H', 'N', 'S' or 'U'"
NAMING = "a name is a lower-case letter, then lower-case letters, digits and _; rename it"
ARITHMETIC = (
    "'default', 'auto', 'int8', 'int8_float32', 'int8_float16', 'int8_bfloat16', 'int16', 'float16', 'bfloat16' or "
    "'float32'"
)
AS_TEXT = "write it in a file, without quotes (inside the braces of --config all is text)"
MISTAKES = {
    # unknown keys: the nearest of that section, or all of that section
    "sead": (3, "unknown key; did you mean `seed`?"),
    "Seed": (3, "unknown key; did you mean `seed`?"),
    "lucky_number": (
        3,
        "unknown key; choose from seed, environment, corpus, transcripts, systems, ensembles, seeds, tables, report",
    ),
    "corpus.validaton_per_class": (3, "unknown key; did you mean `validation_per_class`?"),
    "corpus.resources.gpus": (1, "unknown key; did you mean `gpu`?"),
    "systems.s1.encoder.min_second": (1.0, "unknown key; did you mean `min_seconds`?"),
    "systems.s1.loss.gama": (1.0, "unknown key; did you mean `gamma`?"),
    "systems.s1.loss.tau": (1.0, "unknown key; choose from name, gamma, reduction"),
    "systems.s1.epochs": (3, "unknown key; choose from description, loss, training, resources, family, encoder, head"),
    "ensembles.vote.tiebreak": ("s1", "unknown key; did you mean `tie_break`?"),
    "corpus.train.Z": (3, f"unknown key; choose from {CHOICE}"),
    # wrong types
    "seed": ("lucky", "must be a whole number, not 'lucky'"),
    "report.bootstrap": (1000.5, "must be a whole number, not 1000.5"),
    "report.title": (2025, "must be text, not 2025; put it in quotes"),
    "transcripts.speech_detection": (1, "must be true or false, not 1"),
    "transcripts.temperatures": (0.2, "must be a list, not 0.2"),
    "transcripts.batch_size": (True, "must be a whole number, not True"),
    "corpus.classes": (["A", "Z"], None),
    "corpus": ([], "must be a mapping, not []"),
    "transcripts": (None, "must be a mapping, not None"),
    "systems.s2": (3, "must be a mapping, not 3"),
    "systems.s1.loss": ("wfl", "must be a mapping, not 'wfl'"),
    "corpus.train": ([60], "must be a mapping, not [60]"),
    # numbers that YAML or the command line reads as text
    "systems.s1.training.learning_rate": (
        "1e-5",
        "must be a number, not '1e-5'; YAML reads 1e-5 as text, write 1.0e-05",
    ),
    "corpus.min_seconds": ("1.0e0", "must be a number, not '1.0e0'; YAML reads 1.0e0 as text, write 1.0"),
    "systems.s1.training.epochs": ("3", f"must be a whole number, not '3'; {AS_TEXT}"),
    "systems.s1.training.gradient_checkpointing": ("true", f"must be true or false, not 'true'; {AS_TEXT}"),
    # wrong values
    "systems.baseline.training.epochs": (0, "must be greater than or equal to 1, not 0"),
    "systems.baseline.training.learning_rate": (float("inf"), "must be a finite number, not inf"),
    "environment": ("tpu", "must be 'cpu' or 'gpu', not 'tpu'"),
    "corpus.validation.per_class": ("few", "must be 'smallest' or 'all' or a whole number, not 'few'"),
    "corpus.kind": ("iemocap", "must be one of 'synthetic', 'msp_podcast', 'ravdess', 'csv', not 'iemocap'"),
    "systems.s1_vs.loss": ({"name": "ce"}, None),
    "systems.s1.family": (
        "speach",
        "must be one of 'speech', 'text', 'salmonn', 'zero_shot', 'salmonn_zero_shot', not 'speach'",
    ),
    "ensembles.vote.members": ([], "empty; give at least one"),
    "systems.s1.encoder.model": ("", "empty; fill it in"),
    "transcripts.compute_type": ("fp16", f"must be {ARITHMETIC}, not 'fp16'"),
    "systems.S1": (SPEECH, NAMING),
    "systems.my model": (SPEECH, NAMING),
    "ensembles.2nd": ({"members": ["s1"], "tie_break": "s1"}, NAMING),
    # keys that do not agree
    "transcripts.source": ("parquet", None),
    "transcripts.path": ("mine.parquet", "not read with `source: whisperx`; remove it or set `source: parquet`"),
    "systems.s1.encoder.config": (
        {"hidden_size": 8},
        "describes only a `random:` model; remove it or set `model: random:wavlm`",
    ),
    "systems.s1.encoder.min_seconds": (20.0, "20.0 is above `max_seconds` 10.0; lower it"),
    "systems.s1.training.effective_batch": (
        20,
        "20 is not a multiple of batch_size x gpu x nodes = 8; change one of them",
    ),
    "ensembles.s1": (VOTE, "'s1' names two systems or ensembles; choose another name"),
    "ensembles.corpus": (VOTE, "the name is taken by a folder of results; choose another"),
    "systems.report": (SPEECH, "the name is taken by a folder of results; choose another"),
    "tables.systems.analysis": (SPEECH, "the name is taken by a folder of results; choose another"),
    "tables.systems.s1": (SPEECH, "'s1' names two systems or ensembles; choose another name"),
    "tables.combinations.vote": (VOTE, "'vote' names two systems or ensembles; choose another name"),
    "tables.combinations.two": ({"members": ["s9"], "tie_break": "s9"}, None),
    "tables.components": (["s1", "s9"], "'s9' is none of baseline, s1, s1_vs, vote"),
    "tables.modalities": (["s1"], "1 systems; name two, or none"),
    "tables.losses": ({"systems": ["s1"]}, "'s1_vs' names two systems or ensembles; choose another name"),
    "tables.zero_shot": ({"models": ["s1"]}, None),
    "tables.speech_zero_shot": ("s1", "'s1' is of no fitting `family`, nor is any other"),
    "seeds": ([1, 1], "1 stands twice; give each once"),
    "ensembles.vote.tie_break": ("s3", "'s3' is no member; choose from baseline, s1, s1_vs"),
    # missing
    "systems.s1.encoder": ({}, None),
    "systems": ({}, "empty; give at least one"),
}
ELSEWHERE = {  # mistakes that are told under another key than the changed one
    "corpus.classes": ("corpus.classes.1", f"must be {CHOICE}, not 'Z'"),
    "systems.s1_vs.loss": ("systems.s1_vs.loss.name", "must be one of 'wce', 'wfl', 'vs', not 'ce'"),
    "transcripts.source": ("transcripts.path", "missing; name the file that `source: parquet` reads"),
    "systems.s1.encoder": ("systems.s1.encoder.model", "missing; add it"),
    "tables.combinations.two": ("tables.combinations.two.members", "no system 's9'; choose from baseline, s1, s1_vs"),
    "tables.zero_shot": ("tables.zero_shot.models", "'s1' is of no fitting `family`, nor is any other"),
}


@pytest.mark.parametrize("key", MISTAKES)
def test_a_mistake_is_told_in_one_line(key: str) -> None:
    value, fix = MISTAKES[key]
    named, fix = ELSEWHERE.get(key, (key, fix))
    without_votes = [("ensembles", {})] if key == "systems" else []
    assert told(changed(*without_votes, (key, value))) == f"configuration: `{named}`: {fix}"


@pytest.mark.parametrize("key", ["corpus", "systems", "systems.s1.loss", "corpus.kind", "ensembles.vote.tie_break"])
def test_a_missing_key_is_named(key: str) -> None:
    assert told(changed((key, REMOVE), *[("ensembles", {})] * (key == "systems"))) == (
        f"configuration: `{key}`: missing; add it"
    )


@pytest.mark.parametrize("values", [None, [], "seed: 1", 3])
def test_a_configuration_that_is_no_mapping(values: Any) -> None:
    lists = "docs/configuration.md lists them"
    assert told(values) == f"configuration: must be a mapping of keys ({lists}), not {values!r}"


def test_gpus_count_into_the_batch() -> None:
    training = ("systems.s1.training", {"effective_batch": 32, "batch_size": 8})
    config.validate(changed(training, ("systems.s1.resources.gpu", 4)))
    assert told(changed(training, ("systems.s1.resources.gpu", 3))) == (
        "configuration: `systems.s1.training.effective_batch`: 32 is not a multiple of batch_size x gpu x nodes = 24; "
        "change one of them"
    )


@pytest.mark.parametrize(
    ("members", "fix"),
    [
        (["s1", "s9"], "no system 's9'; choose from baseline, s1, s1_vs"),
        (["s1", "s1"], "a member stands twice; name each once"),
    ],
)
def test_members_are_systems_each_once(members: list[str], fix: str) -> None:
    assert told(changed(("ensembles.vote.members", members))) == f"configuration: `ensembles.vote.members`: {fix}"


@pytest.mark.parametrize("kind", ["", "foo", "Whisper"])
def test_random_weights_are_of_a_known_architecture(kind: str) -> None:
    assert told(changed(("systems.baseline.encoder", {"model": f"random:{kind}"}))) == (
        f"configuration: `systems.baseline.encoder.model`: unknown architecture {kind!r}; write random:wavlm, "
        "random:hubert, random:wav2vec2 or random:whisper"
    )


def test_temperatures_are_not_negative() -> None:
    assert told(changed(("transcripts.temperatures", [0, -0.2]))) == (
        "configuration: `transcripts.temperatures.1`: must be greater than or equal to 0, not -0.2"
    )


@pytest.mark.parametrize("kind", ["synthetic", "msp_podcast", "ravdess", "csv"])
def test_a_class_is_named_once(kind: str) -> None:
    required = {
        "msp_podcast": {"root": "r"},
        "ravdess": {"root": "r", "train_actors": [1], "validation_actors": [2], "test_actors": [3]},
        "csv": {"table": "t.csv"},
    }
    corpus = {"kind": kind, "classes": ["A", "H", "A"]} | required.get(kind, {})
    assert (
        told(changed(("corpus", corpus))) == "configuration: `corpus.classes`: 'A' stands twice; name each class once"
    )


def test_a_synthetic_class_has_a_count() -> None:
    assert told(changed(("corpus.classes", ["A", "H", "N"]))) == (
        "configuration: `corpus.train`: no count for H; add one, or take H out of `classes`"
    )
    config.validate(changed(("corpus.classes", ["A"])))  # further counts wait for their class to come back


@pytest.mark.parametrize(
    ("actors", "key", "fix"),
    [
        ({"validation_actors": []}, "validation_actors", "empty; give at least one"),
        ({"test_actors": [3, 1]}, "test_actors", "actor 1 is in `train_actors` too; keep it in one list"),
    ],
)
def test_an_actor_has_one_role_and_each_role_has_actors(actors: dict, key: str, fix: str) -> None:
    corpus = {"kind": "ravdess", "root": "r", "train_actors": [1], "validation_actors": [2], "test_actors": [3]}
    assert told(changed(("corpus", corpus | actors))) == f"configuration: `corpus.{key}`: {fix}"


@pytest.mark.parametrize("role", ["train", "development", "test"])
def test_partitions_give_each_role_a_set(role: str) -> None:
    partitions = {name: name for name in ("train", "development", "test") if name != role}
    corpus = {"kind": "msp_podcast", "root": "r", "partitions": partitions}
    assert told(changed(("corpus", corpus))) == (
        f"configuration: `corpus.partitions`: no Split_Set is used for `{role}`; name one"
    )


def test_a_tie_breaker_is_a_member_not_only_a_system() -> None:
    values = changed(("ensembles.vote.members", ["baseline", "s1_vs"]))
    assert told(values).endswith("`ensembles.vote.tie_break`: 's1' is no member; choose from baseline, s1_vs")


def test_every_mistake_gets_its_line() -> None:
    assert told(changed(("sead", 3), ("corpus.kind", "x"), ("report.bootstrap", "y"))).splitlines() == [
        "configuration: `corpus.kind`: must be one of 'synthetic', 'msp_podcast', 'ravdess', 'csv', not 'x'",
        "error: configuration: `report.bootstrap`: must be a whole number, not 'y'",
        "error: configuration: `sead`: unknown key; did you mean `seed`?",
    ]


def test_a_key_that_is_no_text() -> None:
    values = deepcopy(BASE)
    values["systems"][False] = SPEECH  # in YAML: no
    values[2025] = None
    assert told(values).splitlines() == [
        "configuration: `systems.False`: a key must be text; put it in quotes",
        "error: configuration: `2025`: a key must be text; put it in quotes",
    ]


def test_a_long_value_does_not_fill_the_screen() -> None:
    assert len(told(changed(("seed", "x" * 1000)))) < 100


def places(values: Any, place: tuple = ()) -> Iterator[tuple]:
    """The way to every value inside `values`."""
    for part in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield (*place, part)
        yield from places(values[part], (*place, part))


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1e-5", "s1"])
)
YAML = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SCALARS, inner, max_size=2))


@given(place=st.sampled_from(list(places(BASE))), key=SCALARS, value=YAML, replace=st.booleans())
def test_whatever_stands_anywhere_it_is_accepted_or_told(place: tuple, key: Any, value: Any, replace: bool) -> None:
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a mapping of keys (docs/configuration.md lists them), not None"),
        ("- a", "must be a mapping of keys (docs/configuration.md lists them), not ['a']"),
        ("seed 3", "must be a mapping of keys (docs/configuration.md lists them), not 'seed 3'"),
    ],
)
def test_a_file_without_keys(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as raised:
        config.load(path)
    assert str(raised.value) == f"{path}: {message}"


def test_a_file_that_is_absent_or_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(UserError, match=r"c\.yaml: no such configuration; correct the path"):
        config.load(path)
    path.write_text("seed: [")
    with pytest.raises(UserError, match=r"c\.yaml: not YAML \(.*line 1") as raised:
        config.load(path)
    assert "\n" not in str(raised.value)


def test_a_section_is_read_from_json_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("{source: corpus, shards: 2}")
    assert config.parse(Transcripts, str(path)) == config.parse(Transcripts, '{"source": "corpus", "shards": 2}')
    for settings, fix in {
        "absent.yaml": "neither JSON nor a file",
        "{": "not JSON or YAML",
        '{"shard": 2}': "`shard`: unknown key; did you mean `shards`?",
    }.items():
        with pytest.raises(UserError, match=re.escape(fix)) as raised:
            config.parse(Transcripts, settings, "transcripts")
        assert str(raised.value).startswith("transcripts: ")
    with pytest.raises(UserError, match=r"^corpus: `tabel`: unknown key; did you mean `table`\?$"):
        config.parse(AnyCorpus, {"kind": "csv", "table": "t.csv", "tabel": "t.csv"}, "corpus")


def test_settings_for_a_rule_come_back_whole_but_for_what_is_left_out() -> None:
    system = config.validate(BASE).systems["s1"]
    text = settings_json(system)
    assert "description" not in text and "resources" not in text
    assert config.parse(SpeechSystem, text) == system.model_copy(
        update={"description": "", "resources": type(system.resources)()}
    )


# Schema and manual


def configurations() -> list[Path]:
    return [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]


def sections() -> list[type[Section]]:
    def below(section: type[Section]) -> Iterator[type[Section]]:
        for child in section.__subclasses__():
            yield child
            yield from below(child)

    return list(below(Section))


def paths(annotation: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key under a model; NAME stands for a name of the user's."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        for key, field in annotation.model_fields.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            named = getattr(annotation.__annotations__.get(key), "__origin__", None) is dict
            yield from paths(field.annotation, f"{path}.NAME" if named else path)
    else:
        for part in get_args(annotation):
            yield from paths(part, prefix)


def test_schema_file_is_what_the_models_say() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert config.schema() == SCHEMA, "run `make schema`"


@pytest.mark.parametrize("path", configurations(), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config.load(path)
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "key", [key for key in MISTAKES if MISTAKES[key][1] and re.match("unknown|must|empty|a name", MISTAKES[key][1])]
)
def test_schema_sees_what_is_wrong_with_a_key_alone(key: str) -> None:
    value, fix = MISTAKES[key]
    valid = Draft202012Validator(SCHEMA).is_valid(changed((key, value)))
    assert valid == ("finite" in fix)  # JSON has no infinity to forbid


def test_manual_has_the_current_table_of_every_section() -> None:
    assert sorted(found[2] for found in reference.MARKED.finditer(MANUAL)) == sorted(
        section.__name__ for section in sections()
    )
    assert reference.filled(MANUAL) == MANUAL, "run `make schema`"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_documented_defaults_mean_in_yaml_what_they_are(section: type[Section]) -> None:
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
def test_manual_names_no_key_that_does_not_exist(text: str) -> None:
    known = [f".{path}" for path in paths(config.Config)]
    mentioned = re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", reference.MARKED.sub("", text))
    mentioned = [key.removesuffix(".NAME") for key in mentioned if not key.endswith((".yaml", ".json", ".csv"))]
    assert len(mentioned) >= 5  # else the pattern misses them
    assert [key for key in mentioned if not any(path.endswith(f".{key}") for path in known)] == []


EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", README + MANUAL, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_manual_are_valid(example: str) -> None:
    values = yaml.safe_load(example)
    if "corpus" not in values:  # a file to merge into the demo, as Snakemake does
        merged = deepcopy(DEMO)
        update_config(merged, values)
        assert merged != DEMO
        values = merged
    config.validate(values)
    Draft202012Validator(SCHEMA).validate(values)


# Systems that ask a language model

ADDRESS = "no http(s) address; write it as in https://api.openai.com/v1"
SECRET = "holds a user, a password, a query or a fragment; give the key by `key_variable` instead"
ASKED = {
    "model": ("random:llama", "random weights answer nothing; name a model that was trained to follow"),
    "fallback": ("H", "'H' is no class of the corpus; choose from A, N"),
    "resources.concurrency": (1001, "must be less than or equal to 1000, not 1001"),
    "server.arguments.api_key": ("k", "set by the job itself or by a key of its own; remove it here"),
}
ENDPOINT = {
    **{("url", url): (url, ADDRESS) for url in ("http://[::1/v1", "http://x:abc/v1", "http://x:99999/v1", "x/v1")},
    **{("url", url): (url, ADDRESS) for url in ("http://x y/v1", "http://x/v1\n", "http://", "me:secret@x/v1")},
    **{("url", url): (url, SECRET) for url in ("http://me:secret@x/v1", "http://x/v1?key=abc", "http://x/v1#key=abc")},
    **{
        ("key_variable", value): (
            value,
            "no name of an environment variable, which has letters, digits and _ only; the key itself stays there",
        )
        for value in ("MY-KEY", "sk-proj-abc123", "")
    },
    **{
        (f"parameters.{name}", name): (value, "set by the job itself; remove it here")
        for name, value in {
            "messages": [],
            "model": "z",
            "stream": True,
            "n": 2,
            "logprobs": None,
            "top_logprobs": 5,
            "structured_outputs": {},
        }.items()
    },
    ("parameters.seed", 3): (3, "set by the job itself; set it to null or remove it"),
}
WORDS = {"mode": "word"}
LETTERS = {"mode": "scored"}
PROMPTS = [
    (WORDS, "system", "one of {emotion}", "{emotion} is no placeholder of it; choose from {count}, {emotions}"),
    (WORDS, "system", "What is {text}", "{text} is no placeholder of it; choose from {count}, {emotions}"),
    (WORDS, "system", "{options}", "{options} is no placeholder of it; choose from {count}, {emotions}"),
    (WORDS, "user", "{text} {txt}", "{txt} is no placeholder of it; choose from {count}, {emotions}, {text}"),
    (WORDS, "user", "hi", "has no {text}; put it where it belongs"),
    (LETTERS, "system", "one of {emotions}", "has no {options}; put it where it belongs"),
    (
        LETTERS,
        "system",
        "{options} {text}",
        "{text} is no placeholder of it; choose from {count}, {emotions}, {options}",
    ),
]


def asking(**keys: Any) -> dict:
    return changed(("systems.t1", {"family": "zero_shot", "model": "m", "fallback": "A"} | keys))


@pytest.mark.parametrize("key", ASKED)
def test_a_mistake_about_asking_is_told(key: str) -> None:
    value, fix = ASKED[key]
    values = asking()
    *sections, last = key.split(".")
    inner = values["systems"]["t1"]
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    assert told(values) == f"configuration: `systems.t1.{key}`: {fix}"


@pytest.mark.parametrize("case", ENDPOINT, ids=str)
def test_a_mistake_about_an_endpoint_is_told_and_no_secret_with_it(case: tuple) -> None:
    (key, _), (value, fix) = case, ENDPOINT[case]
    section = {"url": "http://x/v1"}
    if key.startswith("parameters."):
        section["parameters"] = {key.removeprefix("parameters."): value}
    else:
        section[key] = value
    assert told(asking(endpoint=section)) == f"configuration: `systems.t1.endpoint.{key}`: {fix}"


def test_what_an_endpoint_may_be_given() -> None:
    parameters = {"seed": None, "temperature": 0.5, "max_tokens": None, "reasoning_effort": "low"}
    for url in ("https://api.openai.com/v1", "http://[::1]:8000/v1", "http://127.0.0.1:8000/v1/"):
        config.validate(asking(endpoint={"url": url, "key_variable": "My_Key2", "parameters": parameters}))


def test_an_endpoint_has_no_revision() -> None:
    values = asking(endpoint={"url": "http://x/v1"}, revision="abc")
    assert told(values) == "configuration: `systems.t1.revision`: not used with `endpoint`; remove it"


@pytest.mark.parametrize(("prompt", "key", "text", "fix"), PROMPTS)
def test_a_mistake_in_a_prompt_is_told(prompt: dict, key: str, text: str, fix: str) -> None:
    assert told(asking(prompt=prompt | {key: text})) == f"configuration: `systems.t1.prompt.{key}`: {fix}"


def frozen(**changes: Any) -> dict:
    encoder = {"model": "m", "freeze": "all"} | changes
    return {"family": "speech", "encoder": encoder, "loss": {"name": "wce"}}


def test_losses_and_seeds_share_the_features_of_a_frozen_encoder() -> None:
    """Only random weights are others for each seed."""
    random = frozen(model="random:wavlm")
    trained = {"family": "speech", "encoder": {"model": "m"}, "loss": {"name": "wce"}}
    systems = {"s1": frozen(), "again": frozen(feature_shards=1), "drawn": random, "tuned": trained}
    values = {"corpus": {"kind": "synthetic"}, "systems": systems, "seeds": [1, 2]}
    checked = config.validate(values | {"tables": {"losses": {"systems": ["s1", "drawn"]}}})
    by_run = features.by_run(checked)
    shared = {"s1", "s1_wfl", "s1_vs", "s1_seed1", "s1_seed2", "again", "again_seed1", "again_seed2"}
    own = ({"drawn", "drawn_wfl", "drawn_vs"}, {"drawn_seed1"}, {"drawn_seed2"})
    groups = [{run for run, found in by_run.items() if found.key == key} for key in features.extractions(checked)]
    assert groups == [shared, *own]
    assert [by_run[run].seed for run in ("s1", "drawn", "drawn_seed2")] == [None, 1234, 2]


def test_what_decides_the_numbers_decides_the_cache() -> None:
    def key(training: dict | None = None, **changes: Any) -> str:
        system = config.parse(SpeechSystem, frozen(**changes) | {"training": training or {}})
        return features.of(system, 1).key

    same = {key(), key({"epochs": 3}), key(feature_shards=4), key({"eval_batch_size": 2})}
    assert len(same) == 1
    changed_keys = [key({"precision": "bf16"}), key(layer=1), key(max_seconds=5.0), key(revision="abc")]
    assert len({*same, *changed_keys}) == 1 + len(changed_keys)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": {"model": "m"}}, "`encoder.freeze`: 'convolutions': what is trained has no fixed features"),
        ({"encoder": {"model": "m", "freeze": "all"}, "seed": 1}, "`seed`: goes with a `random:` encoder"),
        ({"encoder": {"model": "random:wavlm", "freeze": "all"}}, "`seed`: goes with a `random:` encoder"),
    ],
)
def test_features_that_cannot_be_cached_are_told(settings: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(features.AnyFeatures, {"family": "speech"} | settings)
    assert words in str(caught.value)


def test_the_shards_of_shared_features_agree() -> None:
    told_of = told(changed(("systems.s1", frozen()), ("systems.s2", frozen(feature_shards=2))))
    assert told_of == (
        "configuration: `systems.s2.encoder.feature_shards`: shares its features with s1, which has 1; make them equal"
    )
    trained = frozen(freeze="convolutions", feature_shards=2)
    assert told(changed(("systems.s1", trained))) == (
        "configuration: `systems.s1.encoder.feature_shards`: not used with `freeze: convolutions`; remove it"
    )


def test_systems_that_share_a_cache_make_it_alike() -> None:
    def speech_llm(**audio_encoder: Any) -> dict:
        features = {"whisper": "w", "beats": "b.pt", "cache": True} | audio_encoder
        return {
            "family": "salmonn",
            "encoder": {"audio_encoder": features, "language_model": "l"},
            "loss": {"name": "vs"},
        }

    config.validate(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm())))
    config.validate(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm(max_seconds=5.0, shards=2))))
    for other in ({"shards": 2}, {"resources": {"gpu": 1}}):
        assert told(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm(**other)))) == (
            "configuration: `systems.st1.encoder.audio_encoder`: shares its cache with s2, but differs in `shards` or "
            "`resources`; make them equal"
        )
