"""Options of a run, as every part gets them."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import prove_gpu
from prove_gpu import PARTS

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Options:
    """What to run on.

    Attributes:
        device: `cuda` or `cpu`.
        shapes: `real` (the paper's sizes) or `tiny`.
        steps, warm_up: optimiser steps of a training that are measured, and those before them.
    """

    device: str
    shapes: str
    cpus: int
    steps: int
    warm_up: int

    @property
    def real(self) -> bool:
        return self.shapes == "real"

    @property
    def gpus(self) -> int:
        return int(self.device == "cuda")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="prove_gpu", description=prove_gpu.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--shapes", choices=("real", "tiny"), default="real", help="sizes of the models: the paper's, or tiny ones"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run; default: all")
    parser.add_argument("--part-seconds", type=int, help="most seconds a part may take; default: by part")
    parser.add_argument("--steps", type=int, default=20, help="measured optimiser steps of a training")
    parser.add_argument("--warm-up", type=int, default=10, help="optimiser steps before them")
    parser.add_argument("--cpus", type=int, default=len(os.sched_getaffinity(0)), help="CPU cores to use")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "benchmarks/results/prove_gpu.json",
        help="JSON to write; each part's log is beside it",
    )
    return parser.parse_args()
