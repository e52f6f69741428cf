"""How long the trainings of config/paper.yaml take on a GPU: computed, not measured. Prints rows for docs/cluster.md.

An optimiser step takes the longer of two times. The GPU needs two operations per weight and token or frame for a
forward pass; a training of all weights costs three forward passes, LoRA on a frozen language model two, or three with
`gradient_checkpointing`. The CPU needs a fixed time per pass through the model to start the GPU's kernels, whatever the
size of the batch; so small batches are slow.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from abhinaya.config import Config, load
from abhinaya.config.system import TrainedSystem

ROOT = Path(__file__).parents[1]
CLIPS = 66_977  # training utterances of the challenge, on average 5.8 s and 25 transcript tokens
SPEEDS = {"A100": 125, "H100": 400}  # TFLOP/s: 40 % of the peak in bf16, which needs large batches
AUDIO_ENCODERS = 2.35  # TFLOP per clip for Whisper-large-v2 (30 s) and BEATs
LOSSES = 2  # additional losses of the target `tables` for each of its systems
SEEDS = 2  # additional seeds


@dataclass(frozen=True)
class Cost:
    """Of one clip and of one pass, by model."""

    forward: float  # TFLOP of the trained part or of the language model
    training: int  # forward passes that a training costs, without gradient checkpointing
    fixed: float  # TFLOP of the frozen part
    launch: float  # seconds of CPU time per pass, without gradient checkpointing
    memory: str  # GB of weights, optimiser's moments, and activations of the configured batch


# The CPU times were measured with models of the real depth and a tiny width; those of SALMONN with gradient
# checkpointing, which repeats the forward pass: two thirds of them are here.
COSTS = {
    "microsoft/wavlm-large": Cost(0.19, 3, 0.03, 0.070, "5 + 26"),
    "meta-llama/Llama-3.1-8B": Cost(0.35, 2, 0, 0.094, "16 + 13"),
    "lmsys/vicuna-13b-v1.1": Cost(3.3, 2, AUDIO_ENCODERS, 0.204, "29 + 19"),
    "lmsys/vicuna-7b-v1.5": Cost(1.7, 2, AUDIO_ENCODERS, 0.181, "16 + 14"),
    "lmsys/vicuna-7b-v1.5 with transcript": Cost(2.0, 2, AUDIO_ENCODERS, 0.181, "16 + 15"),
}


def cost_of(system: TrainedSystem) -> Cost:
    """The cost of a system of the paper."""
    encoder = system.encoder
    name = getattr(encoder, "language_model", None) or encoder.model
    return COSTS[f"{name} with transcript" if getattr(encoder, "transcript", False) else name]


def tflop(system: TrainedSystem, cached: bool = False) -> float:
    """Of one clip in one epoch, on average."""
    cost, checkpointed = cost_of(system), system.training.gradient_checkpointing
    fixed = cost.fixed / system.training.epochs if cached else cost.fixed
    return (cost.training + checkpointed) * cost.forward + fixed


def hours(system: TrainedSystem, speed: float, cached: bool = False) -> float:
    """Of the whole training on one GPU.

    Args:
        speed: of the GPU, in TFLOP/s.
        cached: whether Whisper and BEATs process each clip only once.
    """
    training = system.training
    step = training.effective_batch
    passes = step / training.batch_size
    launch = passes * cost_of(system).launch * (1 + training.gradient_checkpointing / 2)
    seconds = max(launch, step * tflop(system, cached) / speed)
    return CLIPS / step * training.epochs * seconds / 3600


def row(name: str, system: TrainedSystem) -> str:
    """Of the table: TFLOP per clip, hours, GPU memory, requested time."""
    times = " | ".join(f"{hours(system, speed):.1f}" for speed in SPEEDS.values())
    requested = f"{system.resources.runtime // 60} h"
    batch = system.training.batch_size
    return (
        f"| train {name}, batch {batch} | {tflop(system):.2f} | {times} | {cost_of(system).memory} GB | {requested} |"
    )


def sums(config: Config) -> list[str]:
    """Rows for what the target `tables` and further seeds need in addition."""
    trained = {name: system for name, system in config.systems.items() if isinstance(system, TrainedSystem)}
    others = [system for system in config.tables.systems.values() if isinstance(system, TrainedSystem)]
    tables = [trained[name] for name in config.tables.losses.systems] * LOSSES + others
    seeds = [*trained.values()] * SEEDS
    named = {f"target `tables`: {len(tables)} more trainings": tables, f"two more `seeds`: {len(seeds)} more": seeds}
    rows = []
    for name, group in named.items():
        times = " | ".join(f"{sum(hours(each, speed) for each in group):.0f}" for speed in SPEEDS.values())
        rows.append(f"| {name} | | {times} | | |")
    return rows


def cached(config: Config) -> str:
    """A sentence about `audio_encoder.cache`."""
    speed = SPEEDS["A100"]
    found = [
        f"{name} takes {hours(system, speed, cached=True):.0f} instead of {hours(system, speed):.0f} hours"
        for name, system in config.systems.items()
        if isinstance(system, TrainedSystem) and cost_of(system).fixed == AUDIO_ENCODERS
    ]
    return ", ".join(found)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    config = load(ROOT / "config" / "paper.yaml")
    for name, system in config.systems.items():
        if isinstance(system, TrainedSystem):
            print(row(name, system))
    print(*sums(config), sep="\n")
    print(f"\nOn an A100 with `audio_encoder.cache: true`: {cached(config)}.")


if __name__ == "__main__":
    main()
