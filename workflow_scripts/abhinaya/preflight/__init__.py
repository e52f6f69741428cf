"""Checks before a long run; one line per check.

Nothing is computed or decoded; without `fetch`, only configuration files and tokenizers are downloaded. Only the
requirements of the planned jobs are checked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abhinaya.config import Config, features, runs
from abhinaya.config.system import RANDOM, SalmonnSystem
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.preflight.plan import Plan
from abhinaya.runtime.errors import UserError

RESULTS = Path("results")
MANIFEST = RESULTS / "corpus" / "manifest.parquet"
AUDIO_RULES = {"prepare_corpus", "transcribe", "extract_features", "train", "predict"}  # rules that read audio
SYSTEM_RULES = ("train", "predict", "label_zero_shot")  # rules that load a system's models


@dataclass(frozen=True)
class Finding:
    """The result of a check: one line."""

    check: str
    message: str  # with the fix if it failed
    failed: bool = False


def check(config: Config, plan: Plan, fetch: bool = False) -> Iterator[Finding]:
    """Check everything that the planned jobs need, in the current folder; each error is reported once.

    Args:
        fetch: download models that are not in the local cache.
    """
    reported = set()
    for finding in _Check(config, plan, fetch).findings():
        if not finding.failed or finding.message not in reported:
            yield finding
        reported.add(finding.message)


class _Check:
    """The checks, with results that later checks use."""

    def __init__(self, config: Config, plan: Plan, fetch: bool) -> None:
        self.config, self.plan, self.fetch = config, plan, fetch
        self.failed = False  # the last check
        names = plan.wildcards("system", *SYSTEM_RULES)
        self.systems = {name: runs.systems(config)[name] for name in names}
        self.speech_llm_zero_shot = any(isinstance(system, SalmonnZeroShot) for system in self.systems.values())
        caches = features.extractions(config)
        self.features = {key: caches[key] for key in plan.wildcards("features", "extract_features")}
        self.survey: Any = None  # of the corpus
        self.missing: set[str] = set()  # models and files that are not available
        self.needs: list[Any] = []  # disk space

    def findings(self) -> Iterator[Finding]:
        if not self.plan.jobs:
            yield Finding("jobs", "nothing to run")
            return
        yield Finding("jobs", f"{len(self.plan.jobs)} to run")
        yield from self._packages()
        yield from self._corpus()
        yield from self._sources()
        yield from self._meta_models()
        yield from self._disk()
        yield from self._slurm()

    def _run(self, name: str, check: Callable[..., str], *args: Any) -> Iterator[Finding]:
        """The result of `check(*args)`, which fails if it raises a `UserError`; one finding per line."""
        try:
            yield Finding(name, check(*args))
            self.failed = False
        except UserError as error:
            self.failed = True
            for line in str(error).split("\nerror: "):
                yield Finding(name, " ".join(line.split()).removeprefix(f"{name} "), failed=True)

    def _packages(self) -> Iterator[Finding]:
        from abhinaya.preflight import packages

        on_gpus = any(job.resources.get("gpu") for job in self.plan.jobs)
        rules = self.plan.rules
        if {"train", "predict", "extract_features"} & rules or self.speech_llm_zero_shot:
            yield from self._run("packages", packages.torch, self.config.environment, on_gpus)
        if "transcribe" in rules:
            yield from self._run("packages", packages.whisperx)
        servers = [system for system in self.systems.values() if isinstance(system, ZeroShotSystem)]
        for gpus in {bool(system.resources.gpu) for system in servers if system.endpoint is None}:
            yield from self._run("packages", packages.vllm, gpus)
        if "probe_gpu" in rules:
            yield Finding("GPU node", "checked by the job probe_gpu, for which all other GPU jobs wait")

    def _corpus(self) -> Iterator[Finding]:
        from abhinaya.preflight.corpus import survey

        if not AUDIO_RULES & self.plan.rules and not self.speech_llm_zero_shot:
            return
        manifest = MANIFEST if MANIFEST.is_file() and "prepare_corpus" not in self.plan.rules else None

        def check() -> str:
            self.survey = survey(self.config.corpus, self.config.seed, manifest)
            return self.survey.message

        yield from self._run("corpus", check)

    def _sources(self) -> Iterator[Finding]:
        """Each model is checked once, also if systems share it."""
        from abhinaya.preflight import models
        from abhinaya.preflight.disk import Need

        def model(name: str, check: Callable[..., models.Available], *args: Any) -> str:
            available = check(*args, self.fetch)
            if available.missing:
                self.needs.append(Need(name, models.cache_folder(), available.missing))
            return f"{name}: {available.message}"

        if "transcribe" in self.plan.rules:
            transcripts = self.config.transcripts
            yield from self._run("model", model, transcripts.model, models.whisper, transcripts)
        for name, revision, kind in dict.fromkeys(self._needed()):
            if name.startswith(RANDOM):
                continue
            if kind:
                yield from self._run("file", models.file, name, kind)
            else:
                yield from self._run("model", model, name, models.language, name, revision)
            if self.failed:
                self.missing.add(name)

    def _needed(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Models with their revisions, and checkpoint files with their formats, of the planned caches and systems."""
        encoders = [cache.settings.encoder for cache in self.features.values()]
        for system in self.systems.values():
            if isinstance(system, SalmonnSystem | SalmonnZeroShot):
                encoders += [system.encoder.audio_encoder] if self._needs_encoder(system) else []
                yield system.encoder.language_model, system.encoder.revision, None
                if system.encoder.checkpoint:
                    yield system.encoder.checkpoint, None, "SALMONN"
            elif not isinstance(system, ZeroShotSystem):
                encoders.append(system.encoder)
            elif system.endpoint is None:
                yield system.model, system.revision, None
        for encoder in encoders:
            for model in encoder.sources[:1]:  # none for an encoder that is not pretrained
                yield model, encoder.revision, None
            for path in encoder.sources[1:]:
                yield path, None, "BEATs"

    def _needs_encoder(self, system: SalmonnSystem | SalmonnZeroShot) -> bool:
        """Whether Whisper and BEATs are still needed for a speech LLM."""
        wanted = features.of(system, self.config.seed)
        return wanted is None or wanted.key in self.features

    def _meta_models(self) -> Iterator[Finding]:
        for name, system in self.systems.items():
            sources = set(system.encoder.sources) if hasattr(system, "encoder") else {system.model}
            if not sources & self.missing:
                yield from self._run(name, self._meta_model, name, system)

    def _meta_model(self, name: str, system: Any) -> str:
        from abhinaya.preflight import disk, endpoint, meta_models

        if isinstance(system, ZeroShotSystem):
            if system.endpoint is not None:
                return endpoint.check(system.endpoint)
            meta_models.chat(system.model, system.revision)
            return "its tokenizer has a chat template"
        cached = None
        if isinstance(system, SalmonnSystem | SalmonnZeroShot) and not self._needs_encoder(system):
            cached = RESULTS / "features" / features.of(system, self.config.seed).key / "000.parquet"
        if isinstance(system, SalmonnZeroShot):
            meta_models.zero_shot(system, cached)
            return "its parts fit together"
        classifier = meta_models.classifier(system, cached)
        if name in self.plan.wildcards("system", "train"):
            self.needs.append(disk.Need(f"{name}'s checkpoints", RESULTS / name, disk.trained(classifier)))
        trained = sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
        return f"its parts fit together; {trained / 1e6:.1f} million trainable weights"

    def _disk(self) -> Iterator[Finding]:
        if not self.needs and not self.features:
            return
        from abhinaya.preflight import disk, meta_models

        for key, cache in self.features.items() if self.survey else []:
            if {*cache.settings.encoder.sources} & self.missing:
                continue
            try:
                widths = meta_models.feature_widths(cache.settings)
            except UserError as error:  # not yet reported if no system that uses the cache is planned
                yield Finding(f"features {key}", str(error), failed=True)
                continue
            size = disk.cached(cache.settings, widths, self.survey.used, self.survey.durations)
            left = [values for job in self.plan.jobs for rule, values in job.rules if rule == "extract_features"]
            share = sum(values["features"] == key for values in left) / cache.shards
            self.needs.append(disk.Need("cached features", RESULTS / "features" / key, int(size * share)))
        for needs in disk.by_file_system(self.needs):
            yield from self._run(f"disk of {needs[0].folder}", disk.check, needs)

    def _slurm(self) -> Iterator[Finding]:
        from abhinaya.preflight import slurm

        if self.plan.slurm is None:
            return
        commands: list[tuple[str, list[str]]] = []

        def partitions() -> str:
            slurm.run("sinfo", "--noheader")  # fails once if SLURM is down
            slurm.accounting(self.plan.jobs[0])  # the account is the same for all
            commands.extend(slurm.commands(self.plan.jobs, self.plan.slurm))
            return f"{len(self.plan.jobs)} jobs of {len(commands)} kinds"

        yield from self._run("SLURM", partitions)
        for name, command in commands:
            yield from self._run(f"SLURM: {name}", slurm.test_only, command)
