"""Systems that label new audio: trained models and zero-shot systems."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

import pandas as pd
from pydantic import Field

from abhinaya.config import parse
from abhinaya.config.ensemble import Ensemble
from abhinaya.config.system import TrainedSystem
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem
from abhinaya.evaluation.fusion import rule
from abhinaya.evaluation.fusion.rule import FittedFusion
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, print_line

CONFIG = "config.json"  # of a model folder
LABELLING = "labelling.json"  # written with the predictions of a zero-shot system
SOURCE = "source.json"  # written with the predictions of another program
SEED = 1234  # default, where no seed is recorded
ZeroShot = Annotated[ZeroShotSystem | SalmonnZeroShot, Field(discriminator="family")]


class System(Protocol):
    """A system that can label new audio."""

    settings: TrainedSystem | ZeroShotSystem | SalmonnZeroShot

    def label(self, rows: pd.DataFrame, cpus: int, gpus: int, log: Path) -> pd.DataFrame:
        """Predictions (columns `schemas.PREDICTIONS`) for `rows`.

        Args:
            rows: of a manifest, with `text` if the system reads transcripts.
            gpus: 0 uses the CPU.
            log: file for a server's output.
        """


def max_seconds(system: System) -> float | None:
    """The maximum length of a clip; None for a system that does not use audio."""
    encoder = getattr(system.settings, "encoder", None)
    return getattr(getattr(encoder, "audio_encoder", encoder), "max_seconds", None)


@dataclass(frozen=True)
class Model:
    """A model folder from train.py."""

    folder: Path
    settings: TrainedSystem

    def label(self, rows: pd.DataFrame, cpus: int, gpus: int, log: Path) -> pd.DataFrame:
        from abhinaya.prediction.predict import predict

        for note in files.read_json(self.folder / CONFIG)["notes"]:
            print_line(note)
        return predict(self.folder, rows, cpus, gpus)


@dataclass(frozen=True)
class ZeroShotText:
    """A zero-shot language model on transcripts."""

    settings: ZeroShotSystem
    classes: Sequence[str]

    def label(self, rows: pd.DataFrame, cpus: int, gpus: int, log: Path) -> pd.DataFrame:
        from abhinaya.zero_shot import server, text

        settings, resources = self.settings, self.settings.resources
        connect = partial(server.connect, settings, log, cpus, gpus, resources.start_minutes)
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as store:
            limits = (resources.concurrency, resources.request_seconds)
            predictions, _, summary = text.label(rows, settings, self.classes, Path(store), connect, *limits, few=True)
        log.unlink(missing_ok=True)  # only needed after an error
        for note in text.notes(summary, settings):
            print_line(note)
        return predictions


@dataclass(frozen=True)
class ZeroShotSpeech:
    """A zero-shot speech LLM."""

    settings: SalmonnZeroShot
    classes: Sequence[str]
    seed: int

    def label(self, rows: pd.DataFrame, cpus: int, gpus: int, log: Path) -> pd.DataFrame:
        from abhinaya.modeling.checkpoint import with_cache
        from abhinaya.runtime.devices import claim
        from abhinaya.zero_shot import speech

        settings = self.settings.model_copy(update={"encoder": with_cache(self.settings.encoder, cache=False)})
        device, workers = claim(cpus, min(gpus, 1))
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as store:
            predictions, _, summary = speech.label(
                rows, settings, self.classes, self.seed, Path(store), device, workers, few=True
            )
        for note in speech.notes(summary, settings):
            print_line(note)
        return predictions


def read_model(folder: Path) -> Model:
    """The model in `folder`, without loading its weights.

    Raises:
        UserError: there is no model, or as `checkpoint.read_config`.
    """
    if not (folder / CONFIG).is_file():
        if (folder / "ensemble.json").is_file():
            raise UserError(f"{folder}: an ensemble, not a model; use predict_ensemble.py --ensemble {folder}")
        if (folder / "model" / CONFIG).is_file():
            raise UserError(f"{folder}: the model is in {folder / 'model'}; give that folder")
        if (folder / LABELLING).is_file() or (folder.parent / LABELLING).is_file():
            raise UserError(
                f"{folder}: a zero-shot system has no model folder; use predict_ensemble.py with its ensemble"
            )
    from abhinaya.modeling.checkpoint import WEIGHTS, read_config  # slow to import; not needed for --help

    settings = read_config(folder)[0]
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder / WEIGHTS}: file not found; train the model first")
    return Model(folder, settings)


def read_ensemble(folder: Path) -> tuple[Ensemble | FittedFusion, dict[str, System]]:
    """Read the vote or the fitted fusion of `folder`/ensemble.json, and its members (by name) from the parent folder.

    Raises:
        UserError: ensemble.json or a member is missing or invalid.
    """
    path = folder / "ensemble.json"
    if not path.is_file():
        raise UserError(
            f"{path}: file not found; run `snakemake results/{folder.name}/preds.csv`, or correct --ensemble"
        )
    content = files.read_json(path)
    if "rule" in content:
        ensemble = rule.read(path)
    else:
        ensemble = parse(Ensemble, content, where=str(path))
        if ensemble.tie_break not in ensemble.members:
            raise UserError(f"{path}: tie_break {ensemble.tie_break!r} is not a member; recreate it")
    results = Path(os.path.abspath(folder)).parent
    return ensemble, {name: _read_member(results / name) for name in ensemble.members}


def _read_member(folder: Path) -> System:
    path = folder / LABELLING
    if (folder / SOURCE).is_file():
        raise UserError(
            f"{folder}: the predictions of the member {folder.name} are from another program, which cannot be run "
            "here; use an ensemble without it"
        )
    if (folder / "model" / CONFIG).is_file() or ((folder / "model").is_dir() and not path.is_file()):
        return read_model(folder / "model")
    if not path.is_file():
        raise UserError(
            f"{folder}: model or labelling.json of the member {folder.name} not found; run "
            f"`snakemake results/{folder.name}/preds.csv` first"
        )
    content = files.read_json(path)
    try:
        stored, classes, seed = content["settings"], tuple(content["classes"]), content.get("seed", SEED)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: settings or classes are missing; label the corpus again") from None
    settings = parse(ZeroShot, stored, where=str(path))
    if isinstance(settings, ZeroShotSystem):
        return ZeroShotText(settings, classes)
    return ZeroShotSpeech(settings, classes, seed)
