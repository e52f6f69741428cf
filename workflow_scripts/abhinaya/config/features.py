"""What a feature cache is made from: a frozen encoder, and what else decides its numbers.

Systems, losses and seeds whose features have the same settings share one cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from abhinaya.config import runs
from abhinaya.config.base import Resources, Section, Seed
from abhinaya.config.messages import WrongKey
from abhinaya.config.system import AudioEncoder, SalmonnSystem, SpeechEncoder, SpeechSystem, TextEncoder, TextSystem
from abhinaya.config.zero_shot import SalmonnZeroShot

if TYPE_CHECKING:
    from abhinaya.config import Config

Precision = Annotated[Literal["auto", "fp32", "bf16"], Field(description="as `training.precision`")]


class FeatureSettings(BaseModel):
    """What all kinds of features have in common; follows from a configuration and is no section of it."""

    model_config = Section.model_config

    streams: ClassVar[tuple[str, ...]] = ("vectors",)  # sequences of vectors that an utterance gets
    dtype: ClassVar[str] = "float32"  # as numpy names it
    reads_transcripts: ClassVar[bool] = False

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that decide the numbers, as JSON's own types; without `revision`, which may be a branch."""
        own = self.model_dump(mode="json", exclude={"encoder": {"cache", "revision"}})
        return {**own.pop("encoder"), **own}

    @property
    def key(self) -> str:
        """The name of the cache: the same for all that share it."""
        chosen = {**self.decisive, "revision": self.encoder.revision}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _frozen(self) -> FeatureSettings:
        if getattr(self.encoder, "freeze", "all") != "all":
            raise WrongKey("encoder.freeze", f"{self.encoder.freeze!r}: what is trained has no fixed features; set all")
        return self


class SpeechFeatures(FeatureSettings):
    """Of a frozen speech encoder."""

    family: Literal["speech"]
    encoder: SpeechEncoder
    precision: Precision = "auto"
    seed: Seed | None = Field(None, description="of a `random:` encoder's weights; null for all others")

    @model_validator(mode="after")
    def _seed_of_random(self) -> SpeechFeatures:
        if bool(self.encoder.random_parts) != (self.seed is not None):
            raise WrongKey("seed", "goes with a `random:` encoder, and only with one; give or remove it")
        return self


class TextFeatures(FeatureSettings):
    """Of a frozen language model that reads the transcript."""

    reads_transcripts: ClassVar[bool] = True

    family: Literal["text"]
    encoder: TextEncoder
    precision: Precision = "auto"


class SalmonnFeatures(FeatureSettings):
    """Of Whisper (`speech`) and BEATs (`audio`), the frozen half of SALMONN; random BEATs are always the same."""

    streams: ClassVar[tuple[str, ...]] = ("speech", "audio")

    family: Literal["salmonn"]
    encoder: AudioEncoder

    @property
    def dtype(self) -> str:
        return {"fp32": "float32", "fp16": "float16"}[self.encoder.precision]


AnyFeatures = Annotated[SpeechFeatures | TextFeatures | SalmonnFeatures, Field(discriminator="family")]


@dataclass(frozen=True)
class Extraction:
    """The jobs that make a cache."""

    settings: FeatureSettings
    shards: int
    resources: Resources


def of(system: object, seed: int) -> FeatureSettings | None:
    """What the cached features of a system are made from; None for a system without any.

    Args:
        seed: of the system's random weights.
    """
    if isinstance(system, SalmonnSystem | SalmonnZeroShot):
        audio_encoder = system.encoder.audio_encoder
        return SalmonnFeatures(family="salmonn", encoder=audio_encoder) if audio_encoder.cache else None
    if not isinstance(system, SpeechSystem | TextSystem) or not system.encoder.frozen:
        return None
    chosen = {"family": system.family, "encoder": system.encoder, "precision": system.training.precision}
    if isinstance(system, TextSystem):
        return TextFeatures(**chosen)
    return SpeechFeatures(**chosen, seed=seed if system.encoder.random_parts else None)


def extraction(system: Any, settings: FeatureSettings) -> Extraction:
    """The jobs that make the cache of `system`: with resources of their own for a speech LLM, else with its own."""
    if isinstance(settings, SalmonnFeatures):
        audio_encoder = system.encoder.audio_encoder
        return Extraction(settings, audio_encoder.shards, audio_encoder.resources)
    return Extraction(settings, system.encoder.feature_shards, system.resources)


def by_run(config: Config) -> dict[str, FeatureSettings]:
    """The features of each run that has cached ones."""
    seeds = runs.seeds(config)
    found = {run: of(system, seeds[run]) for run, system in runs.systems(config).items()}
    return {run: settings for run, settings in found.items() if settings is not None}


def extractions(config: Config) -> dict[str, Extraction]:
    """All caches, by key, each with the resources of the first system that it serves."""
    systems = runs.systems(config)
    found: dict[str, Extraction] = {}
    for run, settings in by_run(config).items():
        found.setdefault(settings.key, extraction(systems[run], settings))
    return found
