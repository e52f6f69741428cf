"""Systems that label new audio: trained models, and those that are asked."""

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
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, print_line

CONFIG = "config.json"  # of a model folder
LABELLING = "labelling.json"  # what a system that is asked leaves beside its predictions
SEED = 1234  # where none is told, as nothing is random
ZeroShot = Annotated[ZeroShotSystem | SalmonnZeroShot, Field(discriminator="family")]


@dataclass(frozen=True)
class Machine:
    """What there is to compute on; 0 `gpus`: the CPU alone."""

    cpus: int
    gpus: int


class System(Protocol):
    """A system that can label new audio."""

    @property
    def max_seconds(self) -> float | None:
        """The longest clip that it hears whole; None if it hears none."""

    @property
    def reads_transcripts(self) -> bool: ...

    def label(self, rows: pd.DataFrame, machine: Machine, log: Path) -> pd.DataFrame:
        """Predictions (columns `tables.PREDICTIONS`) for manifest `rows`, which have `text` if it reads; `log` is free
        for the output of a server."""


@dataclass(frozen=True)
class Model:
    """A model that train.py wrote."""

    folder: Path
    settings: TrainedSystem

    @property
    def max_seconds(self) -> float | None:
        encoder = self.settings.encoder
        return getattr(getattr(encoder, "audio_encoder", encoder), "max_seconds", None)

    @property
    def reads_transcripts(self) -> bool:
        return self.settings.reads_transcripts

    def label(self, rows: pd.DataFrame, machine: Machine, log: Path) -> pd.DataFrame:
        from abhinaya.prediction.predict import predict

        for note in files.read_json(self.folder / CONFIG)["notes"]:
            print_line(note)
        return predict(self.folder, rows, machine.cpus, machine.gpus)


@dataclass(frozen=True)
class ZeroShotText:
    """A language model that is asked about the transcript."""

    settings: ZeroShotSystem
    classes: Sequence[str]
    max_seconds = None
    reads_transcripts = True

    def label(self, rows: pd.DataFrame, machine: Machine, log: Path) -> pd.DataFrame:
        from abhinaya.zero_shot import server, text

        asks = self.settings.resources
        connect = partial(server.connect, self.settings, log, machine.cpus, machine.gpus, asks.start_minutes)
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as store:
            found, _, summary = text.label(
                rows,
                self.settings,
                self.classes,
                Path(store),
                connect,
                asks.concurrency,
                asks.request_seconds,
                few=True,
            )
        log.unlink(missing_ok=True)  # of no use unless something went wrong
        for note in text.notes(summary, self.settings):
            print_line(note)
        return found


@dataclass(frozen=True)
class ZeroShotSpeech:
    """A speech LLM that is asked about the clip."""

    settings: SalmonnZeroShot
    classes: Sequence[str]
    seed: int
    reads_transcripts = False

    @property
    def max_seconds(self) -> float:
        return self.settings.encoder.audio_encoder.max_seconds

    def label(self, rows: pd.DataFrame, machine: Machine, log: Path) -> pd.DataFrame:
        from abhinaya.modeling.checkpoint import with_cache
        from abhinaya.runtime.devices import claim
        from abhinaya.zero_shot import speech

        settings = self.settings.model_copy(update={"encoder": with_cache(self.settings.encoder, cache=False)})
        device, workers = claim(machine.cpus, min(machine.gpus, 1))
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as store:
            found, _, summary = speech.label(
                rows, settings, self.classes, self.seed, Path(store), device, workers, few=True
            )
        for note in speech.notes(summary, settings):
            print_line(note)
        return found


def read_model(folder: Path) -> Model:
    """The model that train.py wrote to `folder`; its weights are not read yet.

    Raises:
        UserError: no model is there; as `model_folder.read_config`.
    """
    if not (folder / CONFIG).is_file():
        _tell_what_is_there(folder)
    from abhinaya.modeling.checkpoint import WEIGHTS, read_config  # torch; not for --help

    settings = read_config(folder)[0]
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder / WEIGHTS}: no such file; train the model first")
    return Model(folder, settings)


def _tell_what_is_there(folder: Path) -> None:
    """Raise a `UserError` where `folder`, which is no model's, is another one of a system."""
    if (folder / "model" / CONFIG).is_file():
        raise UserError(f"{folder}: the model is in {folder / 'model'}; give that folder")
    if any((place / LABELLING).is_file() for place in (folder, folder.parent)):
        raise UserError(
            f"{folder}: this system is asked, not trained, so it has no model; as a member of an ensemble it labels "
            "new audio with predict_ensemble.py"
        )


def read_ensemble(folder: Path) -> tuple[Ensemble, dict[str, System]]:
    """The ensemble that `folder`/ensemble.json describes, and its members, by name, whose folders stand beside it.

    Raises:
        UserError: the description is absent or spoilt; a member has not been made, or is spoilt.
    """
    path = folder / "ensemble.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `snakemake results/{folder.name}/preds.csv`, or correct --ensemble")
    ensemble = parse(Ensemble, files.read_json(path), where=str(path))
    if ensemble.tie_break not in ensemble.members:
        raise UserError(f"{path}: tie_break {ensemble.tie_break!r} is no member; make it again")
    results = Path(os.path.abspath(folder)).parent
    return ensemble, {name: _read_member(results / name) for name in ensemble.members}


def _read_member(folder: Path) -> System:
    path = folder / LABELLING
    if (folder / "model" / CONFIG).is_file() or ((folder / "model").is_dir() and not path.is_file()):
        return read_model(folder / "model")
    if not path.is_file():
        raise UserError(
            f"{folder}: neither a model nor labelling.json of the member {folder.name}; run "
            f"`snakemake results/{folder.name}/preds.csv` first"
        )
    described = files.read_json(path)
    try:
        stored, classes, seed = described["settings"], tuple(described["classes"]), described.get("seed", SEED)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: does not tell settings and classes; label the corpus again") from None
    settings = parse(ZeroShot, stored, where=str(path))
    return (
        ZeroShotText(settings, classes)
        if isinstance(settings, ZeroShotSystem)
        else ZeroShotSpeech(settings, classes, seed)
    )
