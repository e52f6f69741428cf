"""The settings of cached features: a frozen encoder, and all else that determines the values.

Systems, losses and seeds with the same feature settings share one cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from abhinaya.config import runs
from abhinaya.config.base import Precision, Resources, Section, Seed
from abhinaya.config.messages import WrongKey
from abhinaya.config.system import AudioEncoder, SalmonnSystem, SpeechEncoder, SpeechSystem, TextEncoder, TextSystem
from abhinaya.config.zero_shot import SalmonnZeroShot

if TYPE_CHECKING:
    from abhinaya.config import Config


class FeatureSettings(BaseModel):
    """Base class of the feature settings. They are derived from a configuration and are not a section of it."""

    model_config = Section.model_config

    streams: ClassVar[tuple[str, ...]] = ("vectors",)  # names of the sequences of vectors of an utterance
    dtype: ClassVar[str] = "float32"  # numpy's name
    reads_transcripts: ClassVar[bool] = False

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that determine the values, as JSON types; without `revision`, which may be a branch.

        Without `levels` unless it is set, so that caches from before this key remain valid.
        """
        unset = {"levels"} if not getattr(self.encoder, "levels", False) else set()
        settings = self.model_dump(mode="json", exclude={"encoder": {"cache", "revision"} | unset})
        return {**settings.pop("encoder"), **settings}

    @property
    def key(self) -> str:
        """The name of the cache, a digest of the settings."""
        settings = {**self.decisive, "revision": self.encoder.revision}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _frozen(self) -> FeatureSettings:
        if getattr(self.encoder, "freeze", "all") != "all":
            raise WrongKey(
                "encoder.freeze", f"{self.encoder.freeze!r}: a trained encoder has no fixed features; set all"
            )
        return self


class SpeechFeatures(FeatureSettings):
    """Features of a frozen speech encoder."""

    family: Literal["speech"]
    encoder: SpeechEncoder
    precision: Precision = "auto"
    seed: Seed | None = Field(None, description="seed of a `random:` encoder's weights; null for all others")

    @model_validator(mode="after")
    def _seed_of_random(self) -> SpeechFeatures:
        if bool(self.encoder.random_parts) != (self.seed is not None):
            raise WrongKey("seed", "required with a `random:` encoder, not used with others; add or remove it")
        return self


class TextFeatures(FeatureSettings):
    """Features of a frozen language model for the transcript."""

    reads_transcripts: ClassVar[bool] = True

    family: Literal["text"]
    encoder: TextEncoder
    precision: Precision = "auto"


class SalmonnFeatures(FeatureSettings):
    """Features of SALMONN's frozen audio encoders: Whisper (`speech`) and BEATs (`audio`).

    Random BEATs have a fixed seed.
    """

    streams: ClassVar[tuple[str, ...]] = ("speech", "audio")

    family: Literal["salmonn"]
    encoder: AudioEncoder

    @property
    def dtype(self) -> str:
        return {"fp32": "float32", "fp16": "float16"}[self.encoder.precision]


AnyFeatures = Annotated[SpeechFeatures | TextFeatures | SalmonnFeatures, Field(discriminator="family")]


@dataclass(frozen=True)
class Extraction:
    """The jobs that extract the features of one cache."""

    settings: FeatureSettings
    shards: int
    resources: Resources


def of(system: object, seed: int) -> FeatureSettings | None:
    """The settings of a system's cached features; None if it has none.

    Args:
        seed: seed of the system's random weights.
    """
    if isinstance(system, SalmonnSystem | SalmonnZeroShot):
        audio_encoder = system.encoder.audio_encoder
        return SalmonnFeatures(family="salmonn", encoder=audio_encoder) if audio_encoder.cache else None
    if not isinstance(system, SpeechSystem | TextSystem) or not system.encoder.frozen:
        return None
    settings = {"family": system.family, "encoder": system.encoder, "precision": system.training.precision}
    if isinstance(system, TextSystem):
        return TextFeatures(**settings)
    return SpeechFeatures(**settings, seed=seed if system.encoder.random_parts else None)


def extraction(system: Any, settings: FeatureSettings) -> Extraction:
    """The extraction jobs for `system`, with its resources; for a speech LLM with those of its audio encoder."""
    if isinstance(settings, SalmonnFeatures):
        audio_encoder = system.encoder.audio_encoder
        return Extraction(settings, audio_encoder.shards, audio_encoder.resources)
    return Extraction(settings, system.encoder.feature_shards, system.resources)


def by_run(config: Config) -> dict[str, FeatureSettings]:
    """The feature settings of each run with cached features."""
    seeds, systems = runs.seeds(config), runs.systems(config)
    return {run: settings for run, system in systems.items() if (settings := of(system, seeds[run]))}


def extractions(config: Config) -> dict[str, Extraction]:
    """All caches by key, each with the resources of the first system that uses it."""
    systems = runs.systems(config)
    caches: dict[str, Extraction] = {}
    for run, settings in by_run(config).items():
        caches.setdefault(settings.key, extraction(systems[run], settings))
    return caches
