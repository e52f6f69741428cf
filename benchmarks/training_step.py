"""Seconds an utterance of a training step: ours against the loop of the published code, for S1, T2 and ST1 (as S2).

Both ways train the same random weights on the same utterances, in alternating turns, on the same machine. The plain
loop is written anew after the published code, see the docstrings in `benchmarks/plain/`. In all systems

- its batches are random, so that short utterances are padded to long ones, and have the paper's sizes (8 or 4 in a
  forward pass); ours are of similar length and have the sizes of config/paper.yaml;
- AdamW updates one weight after the other, ours all in one pass (`fused`).

Loading is not measured. Before the first turn, both ways must give the same logits for the same utterances.

A turn is a few optimiser steps out of an epoch of `--utterances`, evenly over the lengths; seconds are scaled to an
utterance of average length. GFLOP are the operations of matrix products and convolutions, the same on any machine;
their ratio is what a training gains that is limited by arithmetic alone.

The models are small, with the proportions of the real ones at the default width. With `--hidden 64 --layers 24`, S1 and
T2 spend most of the time on starting operations, as small batches do on a fast GPU.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from plain import speech, speech_llm, text
from plain.case import COUNTS, SEED, Case
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from abhinaya.config.system import Vs
from abhinaya.data.dataset import LengthGrouped, collate
from abhinaya.modeling import losses
from abhinaya.runtime import errors, files

RESULTS = Path(__file__).parent / "results"
SYSTEMS = {"s1": speech.build, "t2": text.build, "st1": speech_llm.build}
EFFECTIVE = 32  # utterances in an optimiser step
TOLERANCE = 1e-3  # of logits, in eval mode
Batch = dict[str, Tensor]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS), help="which to measure")
    parser.add_argument("--utterances", type=int, default=6400, help="in an epoch, which is not trained as a whole")
    parser.add_argument("--steps", type=int, default=2, help="optimiser steps of a turn")
    parser.add_argument("--hidden", type=int, default=256, help="width of the transformers")
    parser.add_argument("--layers", type=int, default=6, help="their layers")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_step.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.cpus)
    found = {name: measure(SYSTEMS[name](options), options) for name in options.systems}
    files.write_json(
        {"options": {name: str(value) for name, value in vars(options).items()}, "systems": found}, options.output
    )
    print(f"{options.steps} steps of {EFFECTIVE} utterances, median of {options.repeats} turns")
    print(f"{'':11}{'ms/utterance':>13}{'GFLOP':>8}{'padding':>9}")
    for name, result in found.items():
        for way, values in result["ways"].items():
            milliseconds, operations = 1e3 * values["seconds_per_utterance"], values["operations_per_utterance"] / 1e9
            print(f"{name:4}{way:7}{milliseconds:13.1f}{operations:8.2f}{values['padding']:9.1%}")
        print(f"{name:4}{'ratio':7}{result['ratio']:13.2f}{result['ratio_of_operations']:8.2f}")


def measure(case: Case, options: argparse.Namespace) -> dict:
    """Seconds an utterance and padding of both ways, and how far apart their logits are.

    Raises:
        UserError: the two ways do not compute the same.
    """
    difference = compare(case)
    if difference > TOLERANCE:
        raise errors.UserError(f"the two ways differ by {difference:.2g} in their logits; correct the benchmark")
    ways = {"ours": case.ours, "plain": case.plain}
    loss = losses.build(Vs(name="vs"), COUNTS)
    optimisers = {name: optimiser(way.model, fused=name == "ours") for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    padding: dict[str, list[float]] = {name: [] for name in ways}
    operations: dict[str, float] = {}
    for turn in range(-1, options.repeats):  # the first is a warm-up, in which operations are counted
        for name, way in ways.items():
            steps = evenly(order(name, case.sizes, turn), case.sizes, options.steps)
            batches = [[collate([way.item(i) for i in part]) for part in parts(step, way.batch_size)] for step in steps]
            average = statistics.mean(case.sizes) / sum(case.sizes[i] for step in steps for i in step)
            if turn < 0:
                counter = FlopCounterMode(display=False)
                with counter, sdpa_kernel(SDPBackend.MATH):  # it does not know the CPU's fused kernel
                    train_steps(way.model, batches, loss, optimisers[name])
                operations[name] = counter.get_total_flops() * average
                continue
            started = time.perf_counter()
            train_steps(way.model, batches, loss, optimisers[name])
            seconds[name].append((time.perf_counter() - started) * average)
            padding[name].append(padded(batches, case.padded))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "logit_difference": difference,
        "ways": {
            name: {
                "seconds_per_utterance": medians[name],
                "turns": seconds[name],
                "operations_per_utterance": operations[name],
                "padding": statistics.mean(padding[name]),
            }
            for name in ways
        },
        "ratio": medians["plain"] / medians["ours"],
        "ratio_of_operations": operations["plain"] / operations["ours"],
    }


@torch.no_grad()
def compare(case: Case) -> float:
    """The largest difference of both ways' logits, without dropout."""
    found = []
    for way in (case.ours, case.plain):
        batch = collate([way.item(index) for index in range(case.compared)])
        batch.pop("labels")
        found.append(way.model.eval()(**batch)["logits"])
        way.model.train()
    return (found[0] - found[1]).abs().max().item()


def optimiser(model: nn.Module, fused: bool) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-5, fused=fused)


def order(way: str, sizes: list[float], turn: int) -> list[list[int]]:
    """The optimiser steps of an epoch: of similar length as in our training, or random."""
    if way == "ours":
        sampler = LengthGrouped(sizes, EFFECTIVE, SEED)
        sampler.epoch = turn + 1
        indices = list(sampler)
    else:
        indices = np.random.default_rng([SEED, turn + 1]).permutation(len(sizes)).tolist()
    return parts(indices, EFFECTIVE)


def evenly(steps: list[list[int]], sizes: list[float], count: int) -> list[list[int]]:
    """`count` of the steps, evenly over their lengths."""
    by_length = sorted(steps, key=lambda step: sum(sizes[i] for i in step) / len(step))
    middles = (np.arange(count) + 0.5) / count * len(by_length)
    return [by_length[int(middle)] for middle in middles]


def parts(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def train_steps(
    model: nn.Module, steps: list[list[Batch]], loss: losses.ClassLoss, optimizer: torch.optim.Optimizer
) -> None:
    for step in steps:
        for batch in step:
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            loss(model(**inputs)["logits"], batch["labels"], EFFECTIVE).backward()
        optimizer.step()
        optimizer.zero_grad()


def padded(steps: list[list[Batch]], lengths: str) -> float:
    """The share of the inputs that is padding."""
    found = [batch[lengths] for step in steps for batch in step]
    return 1 - sum(values.sum().item() for values in found) / sum(len(values) * int(values.max()) for values in found)


if __name__ == "__main__":
    errors.run(main)
