"""Predict the emotions of new audio with all members of an ensemble, and vote or fuse their probabilities."""

import argparse
from functools import partial
from pathlib import Path

from abhinaya.config.ensemble import Ensemble
from abhinaya.data import schemas
from abhinaya.evaluation import voting
from abhinaya.prediction import new_audio, systems
from abhinaya.runtime import errors, gpu_locks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--ensemble", type=Path, required=True, help="results/{ensemble}; the members' folders are in the same folder")
    add("--audio", type=Path, nargs="+", required=True, metavar="PATH", help=new_audio.AUDIO)
    add("--output", type=Path, required=True, help=new_audio.OUTPUT)
    add("--cpus", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    add("--gpus", type=int, default=0, help="GPUs for a server; other models use one (default: 0, the CPU)")
    new_audio.add_options(parser.add_argument_group("recordings"))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    gpu_locks.take(args.gpus)
    job = new_audio.Job(args)
    ensemble, members = systems.read_ensemble(args.ensemble)
    if isinstance(ensemble, Ensemble):
        combine = partial(voting.vote, tie_break=ensemble.tie_break, tie_rule=ensemble.tie_rule)
    else:
        combine = ensemble.fuse
    results = args.ensemble.absolute().parent
    job.label(
        members,
        results,
        combine=lambda predictions: combine(
            {name: table.set_index(schemas.KEY) for name, table in predictions.items()}
        ),
    )


if __name__ == "__main__":
    errors.run(main)
