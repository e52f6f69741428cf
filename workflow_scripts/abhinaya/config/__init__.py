"""The configuration: every key with its type, default and meaning.

These models are the one source: they validate a configuration before anything runs, `config/schema/config.schema.json`
and the tables of `docs/configuration.md` are made from them (`make schema`).
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from abhinaya.config import features, runs, shorthands, yaml_file
from abhinaya.config.base import Section, Seed
from abhinaya.config.corpora import AnyCorpus
from abhinaya.config.ensemble import AnyEnsemble, Ensemble, Fusion
from abhinaya.config.messages import WrongKey, check_unique, lines
from abhinaya.config.paper_tables import NAMES_ONLY, Name, System, Tables
from abhinaya.config.system import SalmonnSystem, TrainedSystem
from abhinaya.config.transcripts import Transcripts
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.runtime.errors import UserError

RESERVED = ("analysis", "corpus", "cv", "features", "report", "tables")  # folders under results/


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
    ensembles: dict[Name, AnyEnsemble] = Field({}, description="the ensembles, by name", json_schema_extra=NAMES_ONLY)
    seeds: list[Seed] = Field(
        [],
        description="also train every system with these seeds, and report mean and standard deviation; may include "
        "`seed`",
    )
    tables: Tables = Tables()
    report: Report = Report()

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        check_unique("seeds", self.seeds)
        for name, key in runs.named(self):
            if name in RESERVED:
                raise WrongKey(key, "name is reserved for a folder of results; choose another name")
        for name, ensemble in self.ensembles.items():
            check = _check_fusion if isinstance(ensemble, Fusion) else _check_vote
            check(f"ensembles.{name}", ensemble, self.systems)
        for key in ("combinations", "submitted"):
            for name, ensemble in getattr(self.tables, key).items():
                _check_vote(f"tables.{key}.{name}", ensemble, runs.configured(self))
        self._tables_agree()
        seen: set[str] = set()
        for name, key in (*runs.named(self), *runs.derived(self)):
            if name in seen:
                raise WrongKey(key, f"duplicate name {name!r} of systems or ensembles; choose another name")
            seen.add(name)
        return self

    def _tables_agree(self) -> None:
        systems, tables = runs.configured(self), self.tables

        def of(*kinds: type) -> list[str]:
            return [name for name, system in systems.items() if isinstance(system, kinds)]

        every = [*systems, *self.ensembles, *tables.ensembles]
        _check_names("tables.components", tables.components, every)
        _check_names("tables.modalities", tables.modalities, of(SalmonnSystem))
        _check_names("tables.speech_zero_shot", [tables.speech_zero_shot], of(SalmonnZeroShot))
        if tables.losses:
            trained = [name for name in of(TrainedSystem) if not systems[name].is_probe]
            _check_names("tables.losses.systems", tables.losses.systems, trained)
        if tables.zero_shot:
            _check_names("tables.zero_shot.models", tables.zero_shot.models, of(ZeroShotSystem, SalmonnZeroShot))
            _check_names("tables.zero_shot.line", [tables.zero_shot.line], every)
        if [systems[name].reads_transcripts for name in tables.modalities] not in ([], [False, True]):
            text = "the first system must use speech only, the second also the transcript; change them or their order"
            raise WrongKey("tables.modalities", text)

    @model_validator(mode="after")
    def _caches_agree(self) -> "Config":
        first: dict[str, tuple[str, features.Extraction]] = {}
        for name, system in runs.configured(self).items():
            settings = features.of(system, self.seed)
            if settings is None:
                continue
            jobs = features.extraction(system, settings)
            other, other_jobs = first.setdefault(settings.key, (name, jobs))
            key, text = f"{self._section(name)}.encoder", f"shares its features with {other}, but"
            if isinstance(settings, features.SalmonnFeatures) and jobs != other_jobs:
                raise WrongKey(f"{key}.audio_encoder", f"{text} `shards` or `resources` differ; make them equal")
            if jobs.shards != other_jobs.shards:
                raise WrongKey(f"{key}.feature_shards", f"{text} that has {other_jobs.shards}; make them equal")
        return self

    @model_validator(mode="after")
    def _systems_agree(self) -> "Config":
        for name, system in runs.configured(self).items():
            key = self._section(name)
            # Checked here, not in the system's model: rules pass systems without resources.
            if isinstance(system, TrainedSystem) and system.training.fsdp and system.resources.processes < 2:
                raise WrongKey(f"{key}.training.fsdp", "needs several GPUs; increase `resources.gpu`")
            if isinstance(system, ZeroShotSystem | SalmonnZeroShot) and self.corpus.classes:
                _check_names(f"{key}.fallback", [system.fallback], self.corpus.classes, "a class of the corpus")
        return self

    @property
    def predicts_development(self) -> bool:
        """Whether a fusion is fitted on the development utterances outside the validation set."""
        return any(isinstance(one, Fusion) and one.fit_on == "development" for one in self.ensembles.values())

    def _section(self, name: str) -> str:
        """The dotted key of a system."""
        return f"systems.{name}" if name in self.systems else f"tables.systems.{name}"


def _check_fusion(key: str, fusion: Fusion, systems: Collection[str]) -> None:
    check_unique(f"{key}.members", fusion.members)
    _check_names(f"{key}.members", fusion.members, systems, "a system")


def _check_vote(key: str, ensemble: Ensemble, systems: Collection[str]) -> None:
    check_unique(f"{key}.members", ensemble.members)
    _check_names(f"{key}.members", ensemble.members, systems, "a system")
    _check_names(f"{key}.tie_break", [ensemble.tie_break], ensemble.members, "a member")


def _check_names(key: str, names: list, choice: Collection[str], what: str = "a suitable system") -> None:
    """Raise a `WrongKey` if one of `names` is not in `choice`; None stands for a key that is not set."""
    for name in names:
        if name is not None and name not in choice:
            fix = f"choose from {', '.join(choice)}" if choice else "no system of a suitable `family` is configured"
            raise WrongKey(key, f"{name!r} is not {what}; {fix}")


def load(path: str | Path) -> Config:
    """Read and validate a YAML configuration.

    Raises:
        UserError: the file is missing or not YAML, or as `validate`.
    """
    return _validated(Config, shorthands.expand(yaml_file.read(path)), str(path))


def validate(values: dict) -> Config:
    """Validate the configuration in `values`.

    Raises:
        UserError: unknown keys, wrong types, invalid combinations; one line each, with the key and the fix.
    """
    return _validated(Config, shorthands.expand(values), "configuration")


def parse(model: Any, settings: dict | str, where: str = "configuration") -> Any:
    """Validate `settings` (a mapping, JSON text, or the name of a JSON or YAML file) as `model`."""
    return _validated(model, _read(settings, where) if isinstance(settings, str) else settings, where)


def schema() -> dict:
    """The JSON Schema (2020-12) of a configuration, for editors. It does not cover constraints between keys."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _read(settings: str, where: str) -> dict:
    if settings.lstrip().startswith("{"):
        return yaml_file.loads(settings, where, is_json=True)  # YAML reads 1e-08 as text
    try:
        exists = Path(settings).is_file()
    except (OSError, ValueError):  # too long for a file's name, or a null character
        exists = False
    if not exists:
        raise UserError(f"{where}: {settings!r} is neither JSON nor an existing file; give one of them")
    return yaml_file.read(settings)


def _validated(model: Any, values: Any, where: str) -> Any:
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: " + f"\nerror: {where}: ".join(lines(error, model, values))) from None
