"""Train one system of the configuration; a killed run goes on from its last checkpoint."""

import argparse
import os
import sys
from pathlib import Path

from abhinaya import errors, tables, transcripts
from abhinaya.config import Trained, parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the system's name, for its config.json")
    parser.add_argument("--settings", required=True, help="its section of the configuration: JSON, or a JSON/YAML file")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.parquet")
    parser.add_argument("--transcripts", type=Path, help="transcripts.parquet, for a system that reads them")
    parser.add_argument("--heard", nargs="*", type=Path, default=[], help="what hear.py wrote, for a speech LLM")
    parser.add_argument("--seed", type=int, default=1234, help="of weights, crops and batches")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for a run in progress")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--cpus", type=int, default=2, help="CPU cores to use")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs on this machine; 0 computes on the CPU")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = parse(Trained, options.settings, where=f"systems.{options.name}")
    if options.gpus > 1 and "LOCAL_RANK" not in os.environ:  # start again, one process a GPU
        from abhinaya.devices import claim

        claim(options.cpus, options.gpus)  # too few are told once, not by every process
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.gpus}"]
        os.execv(sys.executable, [sys.executable, *launcher, *sys.argv])
    manifest = tables.read_manifest(options.manifest)
    if options.transcripts:
        manifest = transcripts.joined(manifest, options.transcripts)
    from abhinaya.training import train  # torch; not for --help and not before the settings are checked

    train(
        options.name,
        settings,
        manifest,
        options.seed,
        options.checkpoints,
        options.output,
        options.cpus,
        options.gpus,
        options.heard,
    )


if __name__ == "__main__":
    errors.run(main)
