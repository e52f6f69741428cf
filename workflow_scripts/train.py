"""Train one system of the configuration; a killed run goes on from its last checkpoint.

At SIGTERM or SIGUSR1 it saves one and ends; at a second signal it ends at once.
"""

import argparse
import contextlib
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.system import Trained
from abhinaya.data import schemas
from abhinaya.runtime import errors, launch, locks, signals
from abhinaya.transcription import transcripts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the system's name, for its config.json")
    parser.add_argument("--settings", required=True, help="its section of the configuration: JSON, or a JSON/YAML file")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    parser.add_argument(
        "--features", nargs="*", type=Path, default=[], help="indices that extract_features.py wrote, for a speech LLM"
    )
    parser.add_argument("--seed", type=int, default=1234, help="of weights, crops and batches")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for a run in progress")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use on each machine")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of all machines; 0 computes on the CPU")
    parser.add_argument("--nodes", type=int, default=1, help="machines, of a SLURM job if several")
    return parser.parse_args()


def main() -> None:
    signals.restore_default()
    options = arguments()
    settings = parse(Trained, options.settings, where=f"systems.{options.name}")
    gpus = options.gpus // options.nodes  # of this machine
    if max(gpus, options.nodes) > 1 and not launch.is_launched():
        if gpus:
            from abhinaya.runtime.devices import claim

            claim(options.cpus, gpus)  # too few are told once, not by every process
        launch.launch(max(1, gpus), options.nodes, options.cpus)
    manifest = schemas.read_manifest(options.manifest)
    if options.transcripts:
        manifest = transcripts.joined(manifest, options.transcripts)
    from abhinaya.training.train import train  # torch; not for --help and not before the settings are checked

    first = contextlib.nullcontext()
    if launch.is_first():
        lock = options.checkpoints.with_name(f".{options.checkpoints.name}.lock")
        first = locks.alone(lock, f"another job trains {options.name}; wait until it has ended, or cancel it")
    with first:
        train(
            options.name,
            settings,
            manifest,
            options.seed,
            options.checkpoints,
            options.output,
            options.cpus,
            gpus,
            options.features,
        )


if __name__ == "__main__":
    errors.run(main)
