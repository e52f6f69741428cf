"""Seconds a clip of a training step: our speech classifier against the plain loop of the published code.

Both train the same weights on the same clips of uneven length for one epoch, in alternating turns. The plain loop is
written anew after what the published code does (docs/fidelity.md, 5 and 13):

- batches are random, so that short clips are padded to long ones;
- the convolutions are frozen by `requires_grad=False` alone, and gradients still flow through them to the waveform;
- pooling walks over the samples in Python;
- all layers' hidden states are kept, everything in float32.

The random WavLM is small; its convolutions make up more of the work than those of WavLM-large do (there about a seventh
of the forward pass, here a third), and so does what they save.

Before the first turn both must give the same logits and the same loss for the same clips.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from abhinaya.config.system import Head, SpeechEncoder, SpeechSystem, Wfl
from abhinaya.data.audio import RATE
from abhinaya.data.dataset import LengthGrouped, collate
from abhinaya.labels import CLASSES
from abhinaya.modeling import encoders, losses
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.pooling import VARIANCE_FLOOR
from abhinaya.runtime import errors, files

RESULTS = Path(__file__).parent / "results"
SEED = 1234
COUNTS = [6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948]  # the challenge's training split (docs/fidelity.md)
TOLERANCE = 1e-3  # of logits, in eval mode
Batch = dict[str, Tensor]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64, help="clips in an epoch")
    parser.add_argument("--shortest", type=float, default=2.0, help="seconds of the shortest clip")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds of the longest clip")
    parser.add_argument("--batch-size", type=int, default=8, help="clips in a forward pass")
    parser.add_argument("--effective-batch", type=int, default=32, help="clips in an optimiser step")
    parser.add_argument("--hidden", type=int, default=256, help="width of the random WavLM's transformer")
    parser.add_argument("--layers", type=int, default=6, help="its layers")
    parser.add_argument("--channels", type=int, default=128, help="channels of its seven convolutions")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each way")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_step.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.cpus)
    result = measure(options)
    files.write_json(result, options.output)
    print(f"{options.clips} clips, batches of {options.batch_size}, median of {options.repeats}; ", end="")
    print(f"largest difference of logits {result['logit_difference']:.1e}, of losses {result['loss_difference']:.1e}")
    print(f"{'':8}{'s/clip':>9}{'padding':>9}")
    for way, found in result["ways"].items():
        print(f"{way:8}{found['seconds_per_clip']:9.4f}{found['padding']:9.1%}")
    print(f"plain / ours: {result['ratio']:.2f}")


class PlainClassifier(nn.Module):
    """The weights of a `Classifier`, computed as the published code does."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.model = classifier.encoder.model

    def forward(self, inputs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        self.model.feature_extractor._requires_grad = True  # what `freeze_feature_encoder` would have turned off
        mask = torch.arange(inputs.shape[1]) < lengths[:, None]
        output = self.model(inputs, attention_mask=mask, output_hidden_states=True)
        frames = self.model._get_feat_extract_output_lengths(lengths)
        head, pool = self.classifier, self.classifier.pool
        pooled = []
        for vectors, length in zip(output.last_hidden_state, frames.tolist(), strict=True):
            clip = vectors[:length]
            weights = (torch.tanh(pool.sap_linear(clip)) @ pool.attention).softmax(0)
            mean = (weights * clip).sum(0)
            variance = (weights * clip**2).sum(0) - mean**2
            pooled.append(torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()]))
        hidden = torch.relu(head.ln(head.fc(torch.stack(pooled))))
        return {"logits": head.out(head.dropout(hidden))}


def measure(options: argparse.Namespace) -> dict:
    """Seconds a clip and padding of both ways, and how far apart their results are.

    Raises:
        UserError: the two ways do not compute the same.
    """
    clips = random_clips(options)
    sizes = [len(clip["inputs"]) for clip in clips]
    loss = losses.build(Wfl(name="wfl"), COUNTS)
    ways = {"ours": build(options), "plain": PlainClassifier(build(options))}
    logit_difference, loss_difference = compare(ways, collate(clips[: options.batch_size]), loss)
    if logit_difference > TOLERANCE:
        raise errors.UserError(f"the two ways differ by {logit_difference:.2g} in their logits; mend the benchmark")
    optimisers = {way: torch.optim.AdamW(model.parameters(), lr=1e-5) for way, model in ways.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    padding: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(options.repeats):
        for way, model in ways.items():
            orders = {"ours": grouped(sizes, options.effective_batch, repeat), "plain": shuffled(len(sizes), repeat)}
            batches = [collate([clips[i] for i in part]) for part in parts(orders[way], options.batch_size)]
            padding[way].append(padded(batches))
            started = time.perf_counter()
            train(model, batches, loss, optimisers[way], options.effective_batch)
            seconds[way].append((time.perf_counter() - started) / len(clips))
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "options": {name: str(value) for name, value in vars(options).items()},
        "logit_difference": logit_difference,
        "loss_difference": loss_difference,
        "ways": {
            way: {
                "seconds_per_clip": medians[way],
                "epochs": seconds[way],
                "padding": statistics.mean(padding[way]),
            }
            for way in ways
        },
        "ratio": medians["plain"] / medians["ours"],
    }


def random_clips(options: argparse.Namespace) -> list[dict[str, Tensor | int]]:
    """Noise of uneven lengths: what is said does not change how long it takes."""
    rng = np.random.default_rng(SEED)
    lengths = (rng.uniform(options.shortest, options.longest, options.clips) * RATE).astype(int)
    return [
        {"inputs": torch.from_numpy(rng.normal(0, 0.1, length).astype(np.float32)), "labels": index % len(CLASSES)}
        for index, length in enumerate(lengths)
    ]


def build(options: argparse.Namespace) -> Classifier:
    """A small random WavLM with the proportions and the options of the large one, under our pooling and head."""
    architecture = {
        "hidden_size": options.hidden,
        "intermediate_size": 4 * options.hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": max(1, options.hidden // 64),
        "conv_dim": [options.channels] * 7,
        "feat_extract_norm": "layer",
        "conv_bias": False,
        "do_stable_layer_norm": True,
    }
    settings = SpeechSystem(
        family="speech",
        encoder=SpeechEncoder(model="random:wavlm", config=architecture, max_seconds=options.longest),
        head=Head(),
        loss=Wfl(name="wfl"),
    )
    _, encoder = encoders.build(settings, SEED, torch.device("cpu"))
    torch.manual_seed(SEED)
    return Classifier(encoder, settings.head, COUNTS)


def compare(ways: dict[str, nn.Module], batch: Batch, loss: losses.ClassLoss) -> tuple[float, float]:
    """The largest difference of both ways' logits, and that of their losses, without dropout."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = {way: model.eval()(**inputs)["logits"] for way, model in ways.items()}
    found = {way: loss(values, batch["labels"]) for way, values in logits.items()}
    return (
        (logits["ours"] - logits["plain"]).abs().max().item(),
        (found["ours"] - found["plain"]).abs().item(),
    )


def train(
    model: nn.Module, batches: list[Batch], loss: losses.ClassLoss, optimiser: torch.optim.Optimizer, effective: int
) -> None:
    """One epoch; the optimiser steps after every `effective` clips and at the end."""
    model.train()
    pending = 0
    for number, batch in enumerate(batches, start=1):
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        loss(model(**inputs)["logits"], batch["labels"], effective).backward()
        pending += len(batch["labels"])
        if pending >= effective or number == len(batches):
            optimiser.step()
            optimiser.zero_grad()
            pending = 0


def grouped(sizes: list[int], effective: int, epoch: int) -> list[int]:
    """WaveformLoader of like length side by side, as our training takes them."""
    sampler = LengthGrouped(sizes, effective, SEED)
    sampler.epoch = epoch
    return list(sampler)


def shuffled(count: int, epoch: int) -> list[int]:
    return np.random.default_rng([SEED, epoch]).permutation(count).tolist()


def parts(order: list[int], batch_size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def padded(batches: list[Batch]) -> float:
    """The share of samples that are padding."""
    real = sum(batch["lengths"].sum().item() for batch in batches)
    return 1 - real / sum(batch["inputs"].numel() for batch in batches)


if __name__ == "__main__":
    errors.run(main)
