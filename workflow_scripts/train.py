"""Train one system; a killed run resumes from its last checkpoint.

At SIGTERM or SIGUSR1 it saves a checkpoint and exits; a second signal ends it immediately.
"""

import argparse
import contextlib
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.system import Trained
from abhinaya.data import schemas
from abhinaya.runtime import errors, gpu_locks, launch, launch_variables, locks, signals
from abhinaya.transcription import transcripts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the system, for its config.json")
    parser.add_argument(
        "--settings", required=True, help="its section of the configuration: JSON, or a JSON or YAML file"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    parser.add_argument("--features", nargs="*", type=Path, default=[], help="cached features of a frozen encoder")
    parser.add_argument("--seed", type=int, default=1234, help="seed of weights, crops and batches")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores per machine")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of all machines; 0 uses the CPU")
    parser.add_argument("--nodes", type=int, default=1, help="number of machines; several need a SLURM job")
    return parser.parse_args()


def main() -> None:
    signals.restore_default()
    args = parse_args()
    settings = parse(Trained, args.settings, where=f"systems.{args.name}")
    gpus = args.gpus // args.nodes  # per machine
    # The process that launches others holds their GPUs; on several nodes SLURM has reserved them.
    if args.nodes == 1 and not launch_variables.is_launched():
        gpu_locks.take(gpus)
    if max(gpus, args.nodes) > 1 and not launch_variables.is_launched():
        if gpus:
            from abhinaya.runtime.devices import claim

            claim(args.cpus, gpus)  # report missing GPUs once, not in every process
        launch.launch(max(1, gpus), args.nodes, args.cpus)
    manifest = schemas.read_manifest(args.manifest)
    if args.transcripts:
        manifest = transcripts.joined(manifest, args.transcripts)
    from abhinaya.training.train import train  # slow to import; not needed for --help or invalid settings

    first = contextlib.nullcontext()
    if launch.is_first():
        lock = args.checkpoints.with_name(f".{args.checkpoints.name}.lock")
        first = locks.alone(lock, f"another job is training {args.name}")
    with first:
        folders = (args.checkpoints, args.output)
        train(args.name, settings, manifest, args.seed, *folders, args.cpus, gpus, args.features)


if __name__ == "__main__":
    errors.run(main)
