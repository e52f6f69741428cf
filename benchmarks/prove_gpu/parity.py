"""The device computes what the CPU computes: logits, losses and gradients of small systems, in fp32 and in bf16.

The sizes are always the tiny ones. Models are in evaluation mode: dropout draws other numbers on each device.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor

from abhinaya.config.system import AudioEncoder, TrainedSystem
from abhinaya.data.dataset import collate
from abhinaya.modeling.encoders import wavlm_attention
from abhinaya.modeling.encoders.salmonn import audio_encoders
from abhinaya.training.loop import Batch, Loop
from prove_gpu import systems
from prove_gpu.architectures import random_weights
from prove_gpu.arguments import Options
from prove_gpu.checks import Check, at_least, at_most

CPU = torch.device("cpu")
SECONDS = [1.0 + 0.2 * (index % 6) for index in range(32)]  # unequal: batches have padding
CLIPS = 8  # of the 32 in a comparison of devices
FP32 = 1e-4  # most relative difference
BF16 = 0.99  # least cosine


Gradients = dict[str, Tensor]  # by part of the model: a small gradient is not hidden by that of another part


class Outcome(NamedTuple):
    """Of one batch, on the CPU in fp32."""

    logits: Tensor  # (B, 8)
    gradients: Gradients


def run(options: Options) -> Iterator[Check]:
    device = torch.device(options.device)
    # cuDNN's convolutions would otherwise round their inputs to 10 bits, also in fp32.
    torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        rows = systems.write_clips(Path(folder, "clips"), SECONDS)
        paper = systems.paper_systems()
        tiny = {name: systems.with_architecture(paper[name], "tiny", Path(folder)) for name in paper}
        yield from fused_attention(tiny["s1"], rows, device)
        yield from audio_encoder(tiny["s2"].encoder.audio_encoder, rows, device)
        for name, settings in tiny.items():
            yield from compare(name, settings, rows, device)
            yield accumulation(name, settings, rows, device)


def fused_attention(settings: TrainedSystem, rows: pd.DataFrame, device: torch.device) -> Iterator[Check]:
    """WavLM's attention through fused kernels against transformers' own, both on `device`."""
    found = outcome(settings, rows, device, "fp32")
    with patch.object(wavlm_attention, "fuse", lambda model: None):
        expected = outcome(settings, rows, device, "fp32")
    name, what = "WavLM fused attention", "differ from transformers' by"
    yield at_most(f"{name}, logits", what, difference(found.logits, expected.logits), FP32)
    yield at_most(f"{name}, gradients", what, worst(difference, found.gradients, expected.gradients), FP32)


def audio_encoder(settings: AudioEncoder, rows: pd.DataFrame, device: torch.device) -> Iterator[Check]:
    """Whisper and BEATs: fp32 on both devices; then in the precision that the device itself chooses."""
    with random_weights(CPU):
        loader, encoder = audio_encoders.build(settings)
    items = rows.head(CLIPS).to_dict("records")
    batch = collate([{**loader.load(row, None), "labels": 0} for row in items])
    del batch["labels"]
    there = {name: value.to(device) for name, value in batch.items()}
    with torch.no_grad():
        expected = encoder(**batch)
        encoder.to(device)
        pairs = {
            "Whisper": (encoder.whisper(there["mels"], there["mels_lengths"])[0], expected["speech"]),
            "BEATs": (encoder.beats(there["waveform"], there["waveform_lengths"])[0], expected["audio"]),
        }
        auto = encoder(**there)
    for name, (found, wanted) in pairs.items():
        real = _real(found.cpu(), wanted, expected, name)
        yield at_most(f"{name} fp32", "vectors differ from the CPU's by", difference(*real), FP32)
    for name, key in (("Whisper", "speech"), ("BEATs", "audio")):
        real = _real(auto[key].cpu(), expected[key], expected, name)
        yield at_least(f"{name} in a feature cache", "cosine to the CPU's fp32", cosine(*real), BF16)


def _real(found: Tensor, wanted: Tensor, lengths: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Both without the vectors after the clips' ends, which are undefined for BEATs."""
    count = wanted.shape[1]
    found = found[:, :count]
    if name == "Whisper":
        return found, wanted
    mask = torch.arange(count) < lengths["audio_lengths"][:, None]
    return found[mask], wanted[mask]


def compare(name: str, settings: TrainedSystem, rows: pd.DataFrame, device: torch.device) -> Iterator[Check]:
    """Logits and gradients on `device` against the CPU's in fp32, from the same weights and the same inputs."""
    expected = outcome(settings, rows, CPU, "fp32")
    found = outcome(settings, rows, device, "fp32")
    yield at_most(f"{name} fp32 logits", "differ from the CPU's by", difference(found.logits, expected.logits), FP32)
    gradients = worst(difference, found.gradients, expected.gradients)
    yield at_most(f"{name} fp32 gradients", "differ from the CPU's by", gradients, FP32)
    found = outcome(settings, rows, device, "bf16")
    yield at_least(f"{name} bf16 logits", "cosine to the CPU's fp32", cosine(found.logits, expected.logits), BF16)
    gradients = worst(cosine, found.gradients, expected.gradients)
    yield at_least(f"{name} bf16 gradients", "cosine to the CPU's fp32", gradients, BF16)


def outcome(settings: TrainedSystem, rows: pd.DataFrame, device: torch.device, precision: str) -> Outcome:
    """One forward and backward pass by the training loop's own code."""
    settings = systems.with_training(settings, precision=precision, gradient_checkpointing=False)
    loop = systems.loop(settings, rows, device, CPU, torch.float32)
    loop.model.eval()
    (batch,) = batches_of(loop, settings, CLIPS, CLIPS)
    outputs, labels = loop.forward(loop.model, batch)
    loop.loss(outputs["logits"], labels, torch.tensor(len(labels), device=device)).backward()
    gradients = {name: parameter.grad for name, parameter in trained(loop) if parameter.grad is not None}
    return Outcome(outputs["logits"].detach().cpu(), by_part(gradients))


def batches_of(loop: Loop, settings: TrainedSystem, count: int, batch_size: int) -> list[Batch]:
    """The first `count` clips in batches.

    For a speech LLM with Whisper's and BEATs' features, computed on the CPU, since a GPU always computes them in bf16;
    its audio encoders are removed.
    """
    batches = [batch_of(loop, range(start, start + batch_size)) for start in range(0, count, batch_size)]
    if not systems.is_speech_llm(settings):
        return batches
    loop.classifier.encoder.audio_encoder = None
    with random_weights(CPU):
        _, encoder = audio_encoders.build(settings.encoder.audio_encoder)
    inputs = ("mels", "mels_lengths", "waveform", "waveform_lengths")
    return [
        {name: value for name, value in batch.items() if name not in inputs}
        | encoder(**{name: batch[name] for name in inputs})
        for batch in batches
    ]


def accumulation(name: str, settings: TrainedSystem, rows: pd.DataFrame, device: torch.device) -> Check:
    """Four batches of 8 give the gradient of one batch of 32, by the training loop's own step."""
    one, four = (step_gradient(settings, rows, device, batch_size) for batch_size in (32, 8))
    return at_most(f"{name} 4 x 8 against 1 x 32", "gradients differ by", worst(difference, four, one), FP32)


def step_gradient(settings: TrainedSystem, rows: pd.DataFrame, device: torch.device, batch_size: int) -> Gradients:
    """The gradient of the first optimiser step, from AdamW's first moment, which is a tenth of it."""
    settings = systems.with_training(
        settings, precision="fp32", batch_size=batch_size, effective_batch=32, gradient_checkpointing=False
    )
    loop = systems.loop(settings, rows, device, CPU, torch.float32)
    loop.model.eval()
    batches = batches_of(loop, settings, 32, batch_size)
    loop.train_step(iter(batches), len(batches), 32)
    return first_moments(loop)


def first_moments(loop: Loop) -> Gradients:
    states = {name: loop.optimizer.state[parameter] for name, parameter in trained(loop)}
    return by_part({name: state["exp_avg"] for name, state in states.items() if state})


def by_part(gradients: dict[str, Tensor]) -> Gradients:
    """`gradients` by weight -> by part: the encoder's modules (language model, Q-Former) and the rest, the head."""
    parts: dict[str, list[Tensor]] = {}
    for name, gradient in gradients.items():
        part = ".".join(name.split(".")[:2]) if name.startswith("encoder.") else "head"
        parts.setdefault(part, []).append(gradient.flatten())
    return {part: torch.cat(values).float().cpu() for part, values in parts.items()}


def worst(measure: Callable[[Tensor, Tensor], float], found: Gradients, expected: Gradients) -> float:
    """The least cosine, or the largest difference, of a part; NaN if the parts are not the same."""
    if found.keys() != expected.keys():
        return math.nan
    values = [measure(found[part], expected[part]) for part in expected]
    return min(values) if measure is cosine else max(values)


def batch_of(loop: Loop, indices: range) -> Batch:
    return collate([loop.data["validation"][index] for index in indices])


def trained(loop: Loop) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in loop.classifier.named_parameters() if parameter.requires_grad]


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative: the norm of the difference, divided by that of `expected`."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def cosine(found: Tensor, expected: Tensor) -> float:
    return float(torch.cosine_similarity(found.double().flatten(), expected.double().flatten(), dim=0))
