"""What a long run would stumble over, found before it starts: a line for each thing that is looked at.

Nothing is computed, decoded or, without `fetch`, downloaded beyond configuration files and tokenizers. Only what the
planned jobs need is looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abhinaya.config import Config, features, runs
from abhinaya.config.system import RANDOM, SalmonnSystem, TrainedSystem
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.preflight.plan import Plan
from abhinaya.runtime.errors import UserError

RESULTS = Path("results")
MANIFEST = RESULTS / "corpus" / "manifest.parquet"
LISTENING = {
    "prepare_corpus",
    "transcribe",
    "extract_features",
    "train",
    "predict",
    "label_by_ear",
}  # rules that read audio
SYSTEMS = ("train", "predict", "label_zero_shot", "label_by_ear")  # rules that load a system's models


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, and how it is."""

    what: str
    told: str  # with the fix, where it is wrong
    wrong: bool = False


def check(config: Config, plan: Plan, fetch: bool = False) -> Iterator[Finding]:
    """Look at everything that the planned jobs need, in the current folder; each wrong thing is told once.

    Args:
        fetch: download the models that the local cache lacks.
    """
    told = set()
    for finding in _Check(config, plan, fetch).findings():
        if not finding.wrong or finding.told not in told:
            yield finding
        told.add(finding.told)


class _Check:
    """The checks, and what the later ones take from the earlier ones."""

    def __init__(self, config: Config, plan: Plan, fetch: bool) -> None:
        self.config, self.plan, self.fetch = config, plan, fetch
        self.wrong = False  # of the last check
        names = plan.wildcards("system", *SYSTEMS)
        self.systems = {name: runs.systems(config)[name] for name in names}
        caches = features.extractions(config)
        self.features = {key: caches[key] for key in plan.wildcards("features", "extract_features")}
        self.survey: Any = None  # of the corpus
        self.absent: set[str] = set()  # models and files that are not to be had
        self.needs: list[Any] = []

    def findings(self) -> Iterator[Finding]:
        if not self.plan.jobs:
            yield Finding("jobs", "nothing is left to run")
            return
        yield Finding("jobs", f"{len(self.plan.jobs)} to run")
        yield from self._packages()
        yield from self._corpus()
        yield from self._sources()
        yield from self._outlines()
        yield from self._disk()
        yield from self._scheduler()

    def _told(self, what: str, look: Callable[[], str]) -> Iterator[Finding]:
        """What `look` says, which is wrong if it raises a `UserError`; as many findings as that has lines."""
        try:
            yield Finding(what, look())
            self.wrong = False
        except UserError as error:
            self.wrong = True
            for line in str(error).split("\nerror: "):
                yield Finding(what, " ".join(line.split()).removeprefix(f"{what} "), wrong=True)

    def _packages(self) -> Iterator[Finding]:
        from abhinaya.preflight import packages

        on_gpus = any(job.resources.get("gpu") for job in self.plan.jobs)
        rules = self.plan.rules
        if {"train", "predict", "extract_features", "label_by_ear"} & rules:
            yield from self._told("packages", lambda: packages.torch(self.config.environment, on_gpus))
        if "transcribe" in rules:
            yield from self._told("packages", packages.whisperx)
        servers = [system for system in self.systems.values() if isinstance(system, ZeroShotSystem)]
        for gpus in {bool(system.resources.gpu) for system in servers if system.endpoint is None}:
            yield from self._told("packages", lambda gpus=gpus: packages.vllm(gpus))

    def _corpus(self) -> Iterator[Finding]:
        from abhinaya.preflight.corpus import survey

        if not LISTENING & self.plan.rules:
            return
        manifest = MANIFEST if MANIFEST.is_file() and "prepare_corpus" not in self.plan.rules else None

        def look() -> str:
            self.survey = survey(self.config.corpus, self.config.seed, manifest)
            return self.survey.told

        yield from self._told("corpus", look)

    def _sources(self) -> Iterator[Finding]:
        """Every model is told once, whichever systems share it."""
        from abhinaya.preflight import models
        from abhinaya.preflight.disk import Need

        def had(name: str, revision: str | None = None, transcribes: bool = False) -> str:
            if transcribes:
                found = models.whisper(self.config.transcripts, self.fetch)
            else:
                found = models.language(name, revision, self.fetch)
            if found.missing:
                self.needs.append(Need(name, models.cache_folder(), found.missing))
            return f"{name}: {found.told}"

        if "transcribe" in self.plan.rules:
            name = self.config.transcripts.model
            yield from self._told("model", lambda: had(name, transcribes=True))
        for name, revision in dict.fromkeys(self._models()):
            if name.startswith(RANDOM):
                continue
            yield from self._told("model", lambda name=name, revision=revision: had(name, revision))
            if self.wrong:
                self.absent.add(name)
        for path, kind in dict.fromkeys(self._files()):
            yield from self._told("file", lambda path=path, kind=kind: models.file(path, kind))
            if self.wrong:
                self.absent.add(path)

    def _models(self) -> Iterator[tuple[str, str | None]]:
        """Models of the planned caches and systems, and their revisions."""
        for cache in self.features.values():
            yield cache.settings.encoder.sources[0], cache.settings.encoder.revision
        for system in self.systems.values():
            if isinstance(system, SalmonnSystem | SalmonnZeroShot):
                if self._hears(system):
                    yield system.encoder.audio_encoder.whisper, system.encoder.audio_encoder.revision
                yield system.encoder.language_model, system.encoder.revision
            elif isinstance(system, TrainedSystem):
                if system.encoder.sources:  # an encoder may start from no published model
                    yield system.encoder.model, system.encoder.revision
            elif system.endpoint is None:
                yield system.model, system.revision

    def _files(self) -> Iterator[tuple[str, str]]:
        """Checkpoint files of the planned caches and speech LLMs, and whose layout they have."""
        for cache in self.features.values():
            for path in cache.settings.encoder.sources[1:]:  # a speech LLM's BEATs
                if not path.startswith(RANDOM):
                    yield path, "BEATs"
        for system in self.systems.values():
            if isinstance(system, SalmonnSystem | SalmonnZeroShot):
                if self._hears(system) and not system.encoder.audio_encoder.beats.startswith(RANDOM):
                    yield system.encoder.audio_encoder.beats, "BEATs"
                if system.encoder.checkpoint:
                    yield system.encoder.checkpoint, "SALMONN"

    def _hears(self, system: SalmonnSystem | SalmonnZeroShot) -> bool:
        """Whether Whisper and BEATs are still needed for a speech LLM."""
        wanted = features.of(system, self.config.seed)
        return wanted is None or wanted.key in self.features

    def _outlines(self) -> Iterator[Finding]:
        for name, system in self.systems.items():
            sources = set(system.encoder.sources) if hasattr(system, "encoder") else {system.model}
            if not sources & self.absent:
                yield from self._told(name, lambda name=name, system=system: self._outline(name, system))

    def _outline(self, name: str, system: Any) -> str:
        from abhinaya.preflight import disk, endpoint, meta_models

        if isinstance(system, ZeroShotSystem):
            if system.endpoint is not None:
                return endpoint.check(system.endpoint)
            meta_models.chat(system.model, system.revision)
            return "its tokenizer writes chats"
        cached = None
        if isinstance(system, SalmonnSystem | SalmonnZeroShot) and not self._hears(system):
            cached = RESULTS / "features" / features.of(system, self.config.seed).key / "000.parquet"
        if isinstance(system, SalmonnZeroShot):
            meta_models.answering(system, cached)
            return "its parts fit"
        classifier = meta_models.classifier(system, cached)
        if name in self.plan.wildcards("system", "train"):
            self.needs.append(disk.Need(f"{name}'s checkpoints", RESULTS / name, disk.trained(classifier)))
        trained = sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
        return f"its parts fit; {trained / 1e6:.1f} million weights to train"

    def _disk(self) -> Iterator[Finding]:
        if not self.needs and not self.features:
            return
        from abhinaya.preflight import disk, meta_models

        for key, cache in self.features.items() if self.survey else []:
            if {*cache.settings.encoder.sources} & self.absent:
                continue
            try:
                widths = meta_models.feature_widths(cache.settings)
            except UserError as error:  # told already if a system is planned that uses it, but a cache may be alone
                yield Finding(f"features {key}", str(error), wrong=True)
                continue
            whole = disk.cached(cache.settings, widths, self.survey.used, self.survey.durations)
            left = [values for job in self.plan.jobs for rule, values in job.rules if rule == "extract_features"]
            share = sum(values["features"] == key for values in left) / cache.shards
            self.needs.append(disk.Need("cached features", RESULTS / "features" / key, int(whole * share)))
        for folder, told in disk.check(self.needs):
            yield Finding(f"disk of {folder}", str(told), wrong=isinstance(told, UserError))

    def _scheduler(self) -> Iterator[Finding]:
        from abhinaya.preflight import slurm

        if self.plan.slurm is None:
            return
        commands: list[tuple[str, list[str]]] = []

        def partitions() -> str:
            slurm.ask("sinfo", "--noheader")  # if it is down, that is told once
            for job in self.plan.jobs[:1]:  # the account is the same for all
                slurm.accounting(job)
            commands.extend(slurm.kinds(self.plan.jobs, self.plan.slurm))
            return f"{len(self.plan.jobs)} jobs of {len(commands)} kinds"

        yield from self._told("SLURM", partitions)
        for name, command in commands:
            yield from self._told(f"SLURM: {name}", lambda command=command: slurm.test_only(command))
