"""The configuration: every key, its type, its default, its meaning.

These models are the one source: they validate a configuration before anything runs, `config/schema/config.schema.json`
and the tables of `docs/configuration.md` are made from them (`make schema`).
"""

import json
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from abhinaya.config import features, runs
from abhinaya.config.base import Section, Seed
from abhinaya.config.corpus import AnyCorpus
from abhinaya.config.ensemble import Ensemble
from abhinaya.config.messages import WrongKey, lines
from abhinaya.config.paper_tables import NAMES_ONLY, Name, System, Tables
from abhinaya.config.system import SalmonnSystem, TrainedSystem
from abhinaya.config.transcripts import Transcripts
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.runtime.errors import UserError

RESERVED = ("analysis", "corpus", "features", "report", "tables")  # folders under results/


class Report(Section):
    """The report."""

    title: str = Field("Speech emotion recognition by vote", description="its heading")
    bootstrap: int = Field(1000, ge=100, description="resamples behind each 95 % interval, at least")


class Config(Section):
    """A whole configuration."""

    seed: Seed = Field(1234, description="of every draw: corpus, validation set, weights, crops, bootstrap")
    environment: Literal["cpu", "gpu"] = Field("cpu", description="locked environment that `--sdm conda` builds")
    corpus: AnyCorpus = Field(description="the speech and its labels; `kind` says which corpus")
    transcripts: Transcripts = Transcripts()
    systems: dict[Name, System] = Field(
        min_length=1, description="the classifiers, by name", json_schema_extra=NAMES_ONLY
    )
    ensembles: dict[Name, Ensemble] = Field({}, description="the votes, by name", json_schema_extra=NAMES_ONLY)
    seeds: list[Seed] = Field(
        [],
        description="train every system with each of these seeds, too, and report mean and standard deviation; `seed` "
        "may be one of them",
    )
    tables: Tables = Tables()
    report: Report = Report()

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for section in ("systems", "ensembles", "tables.systems", "tables.combinations"):
            for name in _at(self, section):
                if name in RESERVED:
                    raise WrongKey(f"{section}.{name}", "the name is taken by a folder of results; choose another")
        if repeated := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise WrongKey("seeds", f"{repeated[0]} stands twice; give each once")
        for section in ("ensembles", "tables.combinations"):
            for name, ensemble in _at(self, section).items():
                self._votes(f"{section}.{name}", ensemble)
        self._tables_agree()
        if found := runs.collision(self):
            raise WrongKey(found[1], f"{found[0]!r} names two systems or ensembles; choose another name")
        return self

    def _votes(self, key: str, ensemble: Ensemble) -> None:
        systems = self.systems if key.startswith("ensembles") else runs.given(self)
        if len(set(ensemble.members)) < len(ensemble.members):
            raise WrongKey(f"{key}.members", "a member stands twice; name each once")
        for member in ensemble.members:
            if member not in systems:
                raise WrongKey(f"{key}.members", f"no system {member!r}; choose from {', '.join(systems)}")
        if ensemble.tie_break not in ensemble.members:
            choice = ", ".join(ensemble.members)
            raise WrongKey(f"{key}.tie_break", f"{ensemble.tie_break!r} is no member; choose from {choice}")

    def _tables_agree(self) -> None:
        systems = runs.given(self)
        asked = {name: system for name, system in systems.items() if not isinstance(system, TrainedSystem)}
        asked_by_ear = {name: system for name, system in asked.items() if isinstance(system, SalmonnZeroShot)}
        trained = {name: system for name, system in systems.items() if isinstance(system, TrainedSystem)}
        tables, votes = self.tables, {**self.ensembles, **self.tables.combinations}
        speech_llms = {name: system for name, system in trained.items() if isinstance(system, SalmonnSystem)}
        known = [("components", tables.components, systems | votes), ("modalities", tables.modalities, speech_llms)]
        if tables.losses:
            known.append(("losses.systems", tables.losses.systems, trained))
        if tables.zero_shot:
            known.append(("zero_shot.models", tables.zero_shot.models, asked))
            known.append(("zero_shot.line", filter(None, [tables.zero_shot.line]), systems | votes))
        known.append(("speech_zero_shot", filter(None, [tables.speech_zero_shot]), asked_by_ear))
        for key, names, choice in known:
            for name in names:
                if name not in choice:
                    fitting = f"none of {', '.join(choice)}" if choice else "of no fitting `family`, nor is any other"
                    raise WrongKey(f"tables.{key}", f"{name!r} is {fitting}")
        if [systems[name].reads_transcripts for name in tables.modalities] not in ([], [False, True]):
            raise WrongKey(
                "tables.modalities",
                "the first must take speech alone, the second speech and transcript; put them in this order",
            )

    @model_validator(mode="after")
    def _caches_agree(self) -> "Config":
        first: dict[str, str] = {}
        systems = runs.given(self)
        for name, system in systems.items():
            settings = features.of(system, self.seed)
            if settings is None:
                continue
            other = first.setdefault(settings.key, name)
            ours, theirs = (features.extraction(systems[each], settings) for each in (name, other))
            if isinstance(settings, features.SalmonnFeatures) and ours != theirs:
                raise WrongKey(
                    f"{self._section(name)}.encoder.audio_encoder",
                    f"shares its cache with {other}, but differs in `shards` or `resources`; make them equal",
                )
            if ours.shards != theirs.shards:
                raise WrongKey(
                    f"{self._section(name)}.encoder.feature_shards",
                    f"shares its features with {other}, which has {theirs.shards}; make them equal",
                )
        return self

    @model_validator(mode="after")
    def _systems_agree(self) -> "Config":
        for name, system in runs.given(self).items():
            key = self._section(name)
            # Not of a system alone: a rule hands it on without its resources.
            if isinstance(system, TrainedSystem) and system.training.fsdp and system.resources.processes < 2:
                raise WrongKey(f"{key}.training.fsdp", "needs several GPUs; set `resources.gpu`")
            asked = isinstance(system, ZeroShotSystem | SalmonnZeroShot)
            if asked and system.fallback not in self.corpus.classes:
                choice = ", ".join(self.corpus.classes)
                raise WrongKey(
                    f"{key}.fallback", f"{system.fallback!r} is no class of the corpus; choose from {choice}"
                )
        return self

    def _section(self, name: str) -> str:
        """Where a system stands."""
        return f"systems.{name}" if name in self.systems else f"tables.systems.{name}"


def _at(config: Config, section: str) -> dict[str, Any]:
    return reduce(getattr, section.split("."), config)


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
