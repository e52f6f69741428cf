"""The configuration: every key, its type, its default, its meaning.

These models are the one source: they validate a configuration before anything runs, `config/schema/config.schema.json`
and the tables of `config/README.md` are made from them (`make schema`).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from abhinaya.config.corpus import AnyCorpus, Corpus, Csv, MspPodcast, Ravdess, Synthetic, Validation
from abhinaya.config.mistakes import WrongKey, lines
from abhinaya.config.section import INFRASTRUCTURE, Resources, Section, deciding, settings_json
from abhinaya.config.system import (
    ARCHITECTURES,
    CONVOLUTIONAL,
    RANDOM,
    AnyLoss,
    FramesHead,
    Head,
    Hearing,
    Lora,
    SalmonnEncoder,
    SalmonnSystem,
    SpeechEncoder,
    SpeechSystem,
    TextEncoder,
    TextSystem,
    Trained,
    TrainedSystem,
    Training,
    TrainingResources,
    Vs,
    Wce,
    Wfl,
)
from abhinaya.config.transcripts import Transcripts
from abhinaya.config.zero_shot import (
    Decoding,
    Endpoint,
    Labelling,
    SalmonnZeroShot,
    ScoredPrompt,
    Server,
    WordPrompt,
    ZeroShotSystem,
)
from abhinaya.errors import UserError

__all__ = [
    "ARCHITECTURES",
    "CONVOLUTIONAL",
    "INFRASTRUCTURE",
    "RANDOM",
    "AnyCorpus",
    "AnyLoss",
    "Config",
    "Corpus",
    "Csv",
    "Decoding",
    "Endpoint",
    "Ensemble",
    "FramesHead",
    "Head",
    "Hearing",
    "Labelling",
    "Lora",
    "MspPodcast",
    "Ravdess",
    "Report",
    "Resources",
    "SalmonnEncoder",
    "SalmonnSystem",
    "SalmonnZeroShot",
    "ScoredPrompt",
    "Section",
    "Server",
    "SpeechEncoder",
    "SpeechSystem",
    "Synthetic",
    "System",
    "TextEncoder",
    "TextSystem",
    "Trained",
    "TrainedSystem",
    "Training",
    "TrainingResources",
    "Transcripts",
    "Validation",
    "Vs",
    "Wce",
    "Wfl",
    "WordPrompt",
    "ZeroShotSystem",
    "deciding",
    "load",
    "parse",
    "schema",
    "settings_json",
    "validate",
]

RESERVED = ("corpus", "report")  # folders under results/


System = Annotated[
    SpeechSystem | TextSystem | SalmonnSystem | ZeroShotSystem | SalmonnZeroShot, Field(discriminator="family")
]


class Ensemble(Section):
    """A majority vote (as in the paper)."""

    members: list[str] = Field(min_length=1, description="systems that vote")
    tie_break: str = Field(description="the member that decides when no class has most votes")
    tie_rule: Literal["label", "probabilities"] = Field(
        "label",
        description="on a tie take the tie-breaker's label, or the likeliest of the tied classes by its probabilities",
    )


class Report(Section):
    """The report."""

    title: str = Field("Speech emotion recognition by vote", description="its heading")
    bootstrap: int = Field(1000, ge=100, description="resamples behind each 95 % interval")


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
NAMES_ONLY = {"additionalProperties": False}  # else the schema would let any other name pass


class Config(Section):
    """A whole configuration."""

    seed: int = Field(1234, ge=0, description="of every draw: corpus, validation set, weights, crops, bootstrap")
    environment: Literal["cpu", "gpu"] = Field("cpu", description="locked environment that `--sdm conda` builds")
    corpus: AnyCorpus = Field(description="the speech and its labels; `kind` says which corpus")
    transcripts: Transcripts = Transcripts()
    systems: dict[Name, System] = Field(
        min_length=1, description="the classifiers, by name", json_schema_extra=NAMES_ONLY
    )
    ensembles: dict[Name, Ensemble] = Field({}, description="the votes, by name", json_schema_extra=NAMES_ONLY)
    report: Report = Report()

    @model_validator(mode="after")
    def _caches_agree(self) -> "Config":
        first: dict[str, str] = {}
        for name, system in self.systems.items():
            if not isinstance(system, SalmonnSystem | SalmonnZeroShot) or not system.encoder.hearing.cache:
                continue
            other = first.setdefault(system.encoder.hearing.key, name)
            ours, theirs = system.encoder.hearing, self.systems[other].encoder.hearing
            if (ours.shards, ours.resources) != (theirs.shards, theirs.resources):
                raise WrongKey(
                    f"systems.{name}.encoder.hearing",
                    f"shares its cache with {other}, but differs in `shards` or `resources`; make them equal",
                )
        return self

    @model_validator(mode="after")
    def _shares_have_takers(self) -> "Config":
        for name, system in self.systems.items():  # not of a system alone: a rule hands it on without its resources
            if isinstance(system, TrainedSystem) and system.training.shard and system.resources.processes < 2:
                raise WrongKey(f"systems.{name}.training.shard", "needs several GPUs; set `resources.gpu`")
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for name, system in self.systems.items():
            if name in RESERVED:
                raise WrongKey(f"systems.{name}", "the name is taken by a folder of results; rename the system")
            asked = isinstance(system, ZeroShotSystem | SalmonnZeroShot)
            if asked and system.fallback not in self.corpus.classes:
                choice = ", ".join(self.corpus.classes)
                raise WrongKey(
                    f"systems.{name}.fallback", f"{system.fallback!r} is no class of the corpus; choose from {choice}"
                )
        for name, ensemble in self.ensembles.items():
            key = f"ensembles.{name}"
            if name in RESERVED:
                raise WrongKey(key, "the name is taken by a folder of results; rename the ensemble")
            if name in self.systems:
                raise WrongKey(key, "the name is taken by a system; rename the ensemble")
            if len(set(ensemble.members)) < len(ensemble.members):
                raise WrongKey(f"{key}.members", "a member stands twice; name each once")
            for member in ensemble.members:
                if member not in self.systems:
                    raise WrongKey(f"{key}.members", f"no system {member!r}; choose from {', '.join(self.systems)}")
            if ensemble.tie_break not in ensemble.members:
                choice = ", ".join(ensemble.members)
                raise WrongKey(f"{key}.tie_break", f"{ensemble.tie_break!r} is no member; choose from {choice}")
        return self


def load(path: str | Path) -> Config:
    """Read and validate a YAML configuration.

    Raises:
        UserError: absent, not YAML, or as `validate`.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: no such configuration; correct the path") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    return _checked(Config, values, str(path))


def validate(values: dict) -> Config:
    """The configuration in `values`, checked.

    Raises:
        UserError: unknown keys, wrong types, impossible combinations: a line each, naming the key and the fix.
    """
    return _checked(Config, values, "configuration")


def parse(model: Any, settings: dict | str, where: str = "configuration") -> Any:
    """Validate `settings` (a mapping, JSON text, or the name of a JSON or YAML file) as `model`."""
    return _checked(model, _read(settings, where) if isinstance(settings, str) else settings, where)


def schema() -> dict:
    """The JSON Schema (2020-12) of a configuration, for editors. Rules between keys are beyond it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _read(settings: str, where: str) -> dict:
    try:
        if settings.lstrip().startswith("{"):
            return json.loads(settings)
        if not Path(settings).is_file():
            raise UserError(f"{where}: {settings!r} is neither JSON nor a file; give one of them")
        text = Path(settings).read_text(encoding="utf-8")
        return json.loads(text) if settings.endswith(".json") else yaml.safe_load(text)  # YAML reads 1e-08 as text
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not JSON or YAML ({' '.join(str(error).split())})") from None


def _checked(model: Any, values: Any, where: str) -> Any:
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: " + f"\nerror: {where}: ".join(lines(error, model, values))) from None
