"""A training step of each system of a configuration, and what a speech LLM's cache and clip window save.

Noise of uneven lengths stands for the clips and sentences of the synthetic corpus for their transcripts: what is said
does not change how long it takes. Each way is `train.py` itself, a process of its own, for a few epochs; figures are
those of its `metrics.json`. A speech LLM is measured four ways: all 88 windows of 30 s or the clip's own
(`speech_window`), features extracted in each epoch or once before (`cache`, by `extract_features.py`).

With `--config config/paper.yaml --gpus 1` the paper's systems are measured at their own size, on their own weights.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from abhinaya.config import Config, features, load
from abhinaya.config.base import settings_json
from abhinaya.config.features import FeatureSettings
from abhinaya.config.system import SalmonnSystem, TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.audio import RATE
from abhinaya.data.corpora import sentences
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files

ROOT = Path(__file__).parents[1]
SEED = 1234
Found = dict[str, float | int | None]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml", help="whose systems to measure")
    parser.add_argument("--systems", nargs="*", help="their names there; default: all that are trained")
    parser.add_argument("--clips", type=int, default=64, help="clips in an epoch")
    parser.add_argument("--shortest", type=float, default=2.0, help="seconds of the shortest clip")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds of the longest clip")
    parser.add_argument("--epochs", type=int, default=3, help="of each way; the median one counts")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to use")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/systems.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    systems = chosen(load(options.config), options)
    with tempfile.TemporaryDirectory() as folder:
        corpus = draw(Path(folder), options)
        found = {
            f"{name} {way}".strip(): measure(name, system, corpus, options)
            for name, settings in systems.items()
            for way, system in ways(settings).items()
        }
    files.write_json({"options": {k: str(v) for k, v in vars(options).items()}, "ways": found}, options.output)
    show(found, options)


def chosen(config: Config, options: argparse.Namespace) -> dict[str, TrainedSystem]:
    """The systems to measure.

    Raises:
        UserError: one is not in the configuration, or not trained.
    """
    trained = {name: system for name, system in config.systems.items() if isinstance(system, TrainedSystem)}
    for name in options.systems or ():
        if name not in trained:
            raise errors.UserError(f"{options.config}: no trained system {name!r}; choose from {', '.join(trained)}")
    return {name: trained[name] for name in options.systems or trained}


def draw(folder: Path, options: argparse.Namespace) -> Path:
    """A corpus of noise with a few clips to validate on: `manifest.parquet` and `transcripts.parquet` in `folder`."""
    rng = np.random.default_rng(SEED)
    texts = sorted({text for letter in CLASSES for text in sentences.emotional(letter, "train")})
    rows = []
    for index in range(options.clips + len(CLASSES)):
        seconds = rng.uniform(options.shortest, options.longest)
        path = folder / f"{index:05}.wav"
        soundfile.write(path, rng.normal(0, 0.1, int(seconds * RATE)).astype(np.float32), RATE)
        split = "train" if index < options.clips else "validation"
        letter = CLASSES[index % len(CLASSES)]
        row = {"path": str(path), "split": split, "EmoClass": letter, "duration": seconds}
        rows.append({schemas.KEY: path.name, **row, "text": texts[index % len(texts)]})
    table = pd.DataFrame(rows)
    schemas.write_manifest(table.drop(columns="text"), folder / "manifest.parquet")
    files.write_parquet(table[[schemas.KEY, "text"]], schemas.TRANSCRIPTS, folder / "transcripts.parquet")
    return folder


def ways(settings: TrainedSystem) -> dict[str, TrainedSystem]:
    if not isinstance(settings, SalmonnSystem):
        return {"": settings}
    return {
        f"{window}, {'cached' if cache else 'on the fly'}": _with_audio_encoder(
            settings, speech_window=window, cache=cache
        )
        for window in ("full", "clip")
        for cache in (False, True)
    }


def _with_audio_encoder(settings: SalmonnSystem, **changed: object) -> SalmonnSystem:
    window = "full" if changed["speech_window"] == "full" else settings.encoder.audio_encoder.window
    audio_encoder = settings.encoder.audio_encoder.model_copy(update=changed | {"window": window})
    return settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"audio_encoder": audio_encoder})})


def measure(name: str, settings: TrainedSystem, corpus: Path, options: argparse.Namespace) -> Found:
    """Seconds and memory of a step, and what extracting the features before cost, a clip."""
    training = settings.training.model_copy(update={"epochs": options.epochs})
    settings = settings.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory(dir=corpus) as folder:
        found: Found = {}
        cached: list[str | Path] = []
        if wanted := features.of(settings, SEED):
            index = Path(folder, "features.parquet")
            found |= extract_features(wanted, corpus, index, options)
            cached = ["--features", index]
        reads = ["--transcripts", corpus / "transcripts.parquet"] if settings.reads_transcripts else []
        model = Path(folder, "model")
        places = ["--checkpoints", Path(folder, "checkpoints"), "--output", model]
        script(
            "train.py",
            corpus,
            options,
            "--name",
            name,
            "--settings",
            settings_json(settings),
            *reads,
            *cached,
            *places,
        )
        metrics = files.read_json(model / "metrics.json")
    keys = ("seconds_per_step", "utterances_per_second", "peak_memory_mb", "peak_gpu_memory_mb", "trainable_parameters")
    return found | {key: metrics[key] for key in keys}


def extract_features(settings: FeatureSettings, corpus: Path, index: Path, options: argparse.Namespace) -> Found:
    """Encode the corpus once: seconds and MB of a clip.

    The seconds are what all clips take longer than one alone: the process's start and loading the models are apart.
    """
    clips = options.clips + len(CLASSES)
    seconds = []
    for target, shards in ((index.with_stem("one"), clips), (index, 1)):
        started = time.perf_counter()
        given = ["--settings", settings_json(settings), "--shards", str(shards), "--output", target]
        if settings.reads_transcripts:
            given += ["--transcripts", corpus / "transcripts.parquet"]
        script("extract_features.py", corpus, options, *given)
        seconds.append(time.perf_counter() - started)
    stored = index.with_suffix(".bin").stat().st_size
    return {
        "extraction_seconds_per_clip": (seconds[1] - seconds[0]) / (clips - 1),
        "stored_mb_per_clip": stored / clips / 1e6,
    }


def script(name: str, corpus: Path, options: argparse.Namespace, *more: str | Path) -> None:
    machine = ["--cpus", str(options.cpus), "--gpus", str(options.gpus)]
    command = [sys.executable, ROOT / "workflow_scripts" / name, "--manifest", corpus / "manifest.parquet"]
    done = subprocess.run([*command, *machine, *more], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise errors.UserError(f"{name}: {done.stderr.strip().splitlines()[-1].removeprefix('error: ')}")


def show(found: dict[str, Found], options: argparse.Namespace) -> None:
    print(f"{options.clips} clips of {options.shortest} to {options.longest} s, the median of {options.epochs} epochs")
    width = max(map(len, found))
    print(f"{'':{width}}{'s/step':>9}{'clips/s':>9}{'memory':>10}{'extraction s/clip':>18}{'MB/clip':>9}")
    for way, values in found.items():
        memory = values["peak_gpu_memory_mb"] or values["peak_memory_mb"]
        once = [values.get("extraction_seconds_per_clip"), values.get("stored_mb_per_clip")]
        extra = [f"{once[0]:18.3f}{once[1]:9.3f}"] if once[0] is not None else []
        speed = f"{values['seconds_per_step']:9.3f}{values['utterances_per_second']:9.2f}"
        print(f"{way:{width}}{speed}{memory / 1000:7.2f} GB", *extra, sep="")


if __name__ == "__main__":
    errors.run(main)
