"""The configuration: every key with its type, default and meaning.

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

    title: str = Field("Speech emotion recognition by vote", description="heading of the report")
    bootstrap: int = Field(1000, ge=100, description="minimum number of bootstrap resamples for 95 % intervals")


class Config(Section):
    """The configuration."""

    seed: Seed = Field(1234, description="random seed: corpus, validation set, weights, crops, bootstrap")
    environment: Literal["cpu", "gpu"] = Field("cpu", description="locked environment for `--sdm conda`")
    corpus: AnyCorpus = Field(description="audio and labels; `kind` selects the corpus")
    transcripts: Transcripts = Transcripts()
    systems: dict[Name, System] = Field(min_length=1, description="the systems, by name", json_schema_extra=NAMES_ONLY)
    ensembles: dict[Name, Ensemble] = Field({}, description="the ensembles, by name", json_schema_extra=NAMES_ONLY)
    seeds: list[Seed] = Field(
        [],
        description="also train every system with these seeds, and report mean and standard deviation; may include "
        "`seed`",
    )
    tables: Tables = Tables()
    report: Report = Report()

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for section in ("systems", "ensembles", "tables.systems", "tables.combinations"):
            for name in _at(self, section):
                if name in RESERVED:
                    raise WrongKey(f"{section}.{name}", "name is reserved for a folder of results; choose another name")
        if repeated := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise WrongKey("seeds", f"duplicate {repeated[0]}; list each seed once")
        for section in ("ensembles", "tables.combinations"):
            for name, ensemble in _at(self, section).items():
                self._check_votes(f"{section}.{name}", ensemble)
        self._tables_agree()
        if collision := runs.collision(self):
            name, key = collision
            raise WrongKey(key, f"duplicate name {name!r} of systems or ensembles; choose another name")
        return self

    def _check_votes(self, key: str, ensemble: Ensemble) -> None:
        systems = self.systems if key.startswith("ensembles") else runs.configured(self)
        if len(set(ensemble.members)) < len(ensemble.members):
            raise WrongKey(f"{key}.members", "duplicate member; list each member once")
        for member in ensemble.members:
            if member not in systems:
                raise WrongKey(f"{key}.members", f"system {member!r} not found; choose from {', '.join(systems)}")
        if ensemble.tie_break not in ensemble.members:
            choice = ", ".join(ensemble.members)
            raise WrongKey(f"{key}.tie_break", f"{ensemble.tie_break!r} is not a member; choose from {choice}")

    def _tables_agree(self) -> None:
        systems = runs.configured(self)
        zero_shot = {name: system for name, system in systems.items() if not isinstance(system, TrainedSystem)}
        zero_shot_speech = {name: system for name, system in zero_shot.items() if isinstance(system, SalmonnZeroShot)}
        trained = {name: system for name, system in systems.items() if isinstance(system, TrainedSystem)}
        tables, votes = self.tables, {**self.ensembles, **self.tables.combinations}
        speech_llms = {name: system for name, system in trained.items() if isinstance(system, SalmonnSystem)}
        checks = [("components", tables.components, systems | votes), ("modalities", tables.modalities, speech_llms)]
        if tables.losses:
            checks.append(("losses.systems", tables.losses.systems, trained))
        if tables.zero_shot:
            checks.append(("zero_shot.models", tables.zero_shot.models, zero_shot))
            checks.append(("zero_shot.line", filter(None, [tables.zero_shot.line]), systems | votes))
        checks.append(("speech_zero_shot", filter(None, [tables.speech_zero_shot]), zero_shot_speech))
        for key, names, choice in checks:
            for name in names:
                if name not in choice:
                    fix = (
                        f"choose from {', '.join(choice)}"
                        if choice
                        else "no system of a suitable `family` is configured"
                    )
                    raise WrongKey(f"tables.{key}", f"{name!r} is not a suitable system; {fix}")
        if [systems[name].reads_transcripts for name in tables.modalities] not in ([], [False, True]):
            raise WrongKey(
                "tables.modalities",
                "the first system must use speech only, the second speech and transcript; change the systems or "
                "their order",
            )

    @model_validator(mode="after")
    def _caches_agree(self) -> "Config":
        first: dict[str, str] = {}
        systems = runs.configured(self)
        for name, system in systems.items():
            settings = features.of(system, self.seed)
            if settings is None:
                continue
            other = first.setdefault(settings.key, name)
            ours, theirs = (features.extraction(systems[each], settings) for each in (name, other))
            if isinstance(settings, features.SalmonnFeatures) and ours != theirs:
                raise WrongKey(
                    f"{self._section(name)}.encoder.audio_encoder",
                    f"shares its cache with {other}, but `shards` or `resources` differ; make them equal",
                )
            if ours.shards != theirs.shards:
                raise WrongKey(
                    f"{self._section(name)}.encoder.feature_shards",
                    f"shares its features with {other}, which has {theirs.shards}; make them equal",
                )
        return self

    @model_validator(mode="after")
    def _systems_agree(self) -> "Config":
        for name, system in runs.configured(self).items():
            key = self._section(name)
            # Checked here, not in the system's model: rules pass systems without resources.
            if isinstance(system, TrainedSystem) and system.training.fsdp and system.resources.processes < 2:
                raise WrongKey(f"{key}.training.fsdp", "needs several GPUs; increase `resources.gpu`")
            is_zero_shot = isinstance(system, ZeroShotSystem | SalmonnZeroShot)
            if is_zero_shot and system.fallback not in self.corpus.classes:
                choice = ", ".join(self.corpus.classes)
                raise WrongKey(
                    f"{key}.fallback", f"{system.fallback!r} is not a class of the corpus; choose from {choice}"
                )
        return self

    def _section(self, name: str) -> str:
        """The dotted key of a system."""
        return f"systems.{name}" if name in self.systems else f"tables.systems.{name}"


def _at(config: Config, section: str) -> dict[str, Any]:
    return reduce(getattr, section.split("."), config)


def load(path: str | Path) -> Config:
    """Read and validate a YAML configuration.

    Raises:
        UserError: the file is missing or not YAML, or as `validate`.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: file not found; correct the path") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    return _validated(Config, values, str(path))


def validate(values: dict) -> Config:
    """Validate the configuration in `values`.

    Raises:
        UserError: unknown keys, wrong types, invalid combinations; one line each, with the key and the fix.
    """
    return _validated(Config, values, "configuration")


def parse(model: Any, settings: dict | str, where: str = "configuration") -> Any:
    """Validate `settings` (a mapping, JSON text, or the name of a JSON or YAML file) as `model`."""
    return _validated(model, _read(settings, where) if isinstance(settings, str) else settings, where)


def schema() -> dict:
    """The JSON Schema (2020-12) of a configuration, for editors. It does not cover constraints between keys."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _read(settings: str, where: str) -> dict:
    try:
        if settings.lstrip().startswith("{"):
            return json.loads(settings)
        if not Path(settings).is_file():
            raise UserError(f"{where}: {settings!r} is neither JSON nor an existing file; give one of them")
        text = Path(settings).read_text(encoding="utf-8")
        return json.loads(text) if settings.endswith(".json") else yaml.safe_load(text)  # YAML reads 1e-08 as text
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not JSON or YAML ({' '.join(str(error).split())})") from None


def _validated(model: Any, values: Any, where: str) -> Any:
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: " + f"\nerror: {where}: ".join(lines(error, model, values))) from None
