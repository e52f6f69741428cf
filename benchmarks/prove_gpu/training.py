"""Training steps of S1, T2, ST1 and S2 at the paper's sizes: speed, memory, and how busy the GPU is.

The step is the training loop's own, on batches in memory. All clips have the corpus's mean length, except that the
first step has the longest ones, which determine the memory. Loading is measured in the part `machinery`.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from abhinaya.config.system import TrainedSystem
from abhinaya.data.dataset import collate
from abhinaya.training.loop import Batch, Loop
from prove_gpu import speed, systems
from prove_gpu.arguments import Options
from prove_gpu.checks import Check

# Batch size and gradient checkpointing: for a GPU of 80 GB, and for a small one.
ONE_MODEL = ((32, False), (8, False))
SPEECH_LLM = ((16, False), (4, True))
VARIANTS = {"s1": ONE_MODEL, "t2": ONE_MODEL, "s2": SPEECH_LLM, "st1": SPEECH_LLM}
TINY_SECONDS = (1.0, 1.5)
MOST_SECONDS = 40  # for the measured steps of one variant
PROFILED_STEPS = 2
GB = 2**30


@dataclass(frozen=True)
class Clips:
    """Rows of a manifest: of the mean length, and of the longest."""

    mean: pd.DataFrame
    longest: pd.DataFrame


def run(options: Options) -> Iterator[Check]:
    device = torch.device(options.device)
    peak = speed.peak(device)
    size = speed.PEAK_SIZES[device.type]
    message = f"{peak / 1e12:.3g} TFLOP/s in products of {size} x {size} matrices"
    yield Check("peak", "measured", message, {"flops": peak, "formula": speed.FORMULA})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, settings in systems.paper_systems().items():
            drawn = systems.with_architecture(settings, options.shapes, folder)
            mean, longest = TINY_SECONDS
            if options.real:
                mean, longest = speed.CLIP_SECONDS, longest_clip(settings)
            count = settings.training.effective_batch
            clips = Clips(*(systems.write_clips(folder / f"{s:g}", [s] * count) for s in (mean, longest)))
            for variant in variants(name, settings)[: None if options.real else 1]:
                yield measured(name, systems.with_training(drawn, **variant), clips, device, peak, options)
                release(device)


def release(device: torch.device) -> None:
    """Free the memory of the model before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def longest_clip(settings: TrainedSystem) -> float:
    """Seconds of the longest clip after cropping."""
    encoder = settings.encoder
    limits = encoder.audio_encoder if systems.is_speech_llm(settings) else encoder
    return getattr(limits, "max_seconds", 30.0)  # a text system crops no audio; 30 s have about 90 words


def variants(name: str, settings: TrainedSystem) -> list[dict]:
    """Keys of `training`: those of config/paper.yaml, then other batches."""
    configured = (settings.training.batch_size, settings.training.gradient_checkpointing)
    others = [variant for variant in VARIANTS[name] if variant != configured]
    keys = ("batch_size", "gradient_checkpointing")
    return [dict(zip(keys, variant, strict=True)) for variant in (configured, *others)]


def measured(
    name: str, settings: TrainedSystem, clips: Clips, device: torch.device, peak: float, options: Options
) -> Check:
    """The check of one system with one batch size."""
    training = settings.training
    label = f"{name}, batches of {training.batch_size}{', checkpointing' * training.gradient_checkpointing}"
    try:
        figures = measure(settings, clips, device, peak, options)
    except torch.cuda.OutOfMemoryError:
        memory = torch.cuda.get_device_properties(device).total_memory / GB
        return Check(label, "does not fit", f"needs more than this GPU's {memory:.0f} GB")
    return Check(label, "measured", summary(figures), figures)


def measure(settings: TrainedSystem, clips: Clips, device: torch.device, peak: float, options: Options) -> dict:
    loop = systems.loop(settings, clips.mean, device, draw_on=device)
    batches, longest = batches_of(loop, clips.mean), batches_of(loop, clips.longest)
    flops, tokens = per_clip(loop, batches[0])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    loop.model.train()
    utterances = settings.training.effective_batch

    def step() -> None:
        loop.train_step(iter(batches), len(batches), utterances)

    loop.train_step(iter(longest), len(longest), utterances)
    seconds, steps = timed(step, options, device)
    clips_per_second = utterances / seconds
    on_gpu = device.type == "cuda"
    return {
        "steps": steps,
        "ms_per_step": 1000 * seconds,
        "clips_per_second": clips_per_second,
        "tokens_per_second": clips_per_second * tokens,  # of the language model; of S1: WavLM's frames
        "tokens_per_clip": tokens,
        "gflop_per_clip": flops / 1e9,
        "mfu": flops * clips_per_second / peak,
        "peak_gb": torch.cuda.max_memory_allocated(device) / GB if on_gpu else None,
        "idle_share": speed.idle_share(step, PROFILED_STEPS, seconds) if on_gpu else None,
        "hours": speed.hours(clips_per_second) if options.real else None,
    }


def summary(figures: dict) -> str:
    parts = [
        f"{figures['ms_per_step']:.0f} ms a step",
        f"{figures['clips_per_second']:.1f} clips/s",
        f"{figures['tokens_per_second']:.0f} tokens/s",
        f"MFU {figures['mfu']:.1%}",
    ]
    if figures["peak_gb"] is not None:
        parts += [f"{figures['peak_gb']:.1f} GB", f"GPU idle {figures['idle_share']:.0%}"]
    if figures["hours"] is not None:
        parts.append(f"{speed.EPOCHS} epochs of {speed.UTTERANCES:,} clips in {figures['hours']:.1f} h")
    return ", ".join(parts)


def batches_of(loop: Loop, rows: pd.DataFrame) -> list[Batch]:
    """All `rows` as one optimiser step's batches, in pinned memory for a GPU."""
    prepared, _ = loop.data["train"].loader.prepare(rows)
    items = [{**loop.data["train"].loader.load(row, None), "labels": 0} for row in prepared.to_dict("records")]
    size = loop.training.batch_size
    batches = [collate(items[start : start + size]) for start in range(0, len(items), size)]
    if loop.device.type == "cuda":
        batches = [{name: value.pin_memory() for name, value in batch.items()} for batch in batches]
    return batches


def per_clip(loop: Loop, batch: Batch) -> tuple[int, int]:
    """Floating-point operations (`speed.FORMULA`) and tokens of one clip's forward and backward pass.

    In evaluation mode, where nothing is computed again (checkpointing) and no layer is skipped.
    """
    loop.model.eval()
    clip = {name: value[:1] for name, value in batch.items()}
    lengths: list[torch.Tensor] = []
    hook = loop.classifier.encoder.register_forward_hook(lambda module, inputs, output: lengths.append(output[1]))
    total = torch.tensor(1, device=loop.device)

    def passes() -> None:
        outputs, labels = loop.forward(loop.model, clip)
        loop.loss(outputs["logits"], labels, total).backward()

    flops = speed.operations(passes)
    hook.remove()
    loop.optimizer.zero_grad()
    return flops, int(lengths[0].sum())


def timed(step: Callable[[], None], options: Options, device: torch.device) -> tuple[float, int]:
    """Mean seconds of a step after the warm-up, and of how many; both phases end early after `MOST_SECONDS`.

    As in a training, the CPU does not wait for the GPU between the steps.
    """
    begin, expected = time.perf_counter(), 0.0
    for warmed in range(1, options.warm_up + 1):
        step()
        speed.synchronize(device)
        expected = (time.perf_counter() - begin) / warmed
        if expected * warmed > MOST_SECONDS / 2:
            break
    steps = min(options.steps, int(MOST_SECONDS / expected) + 1) if expected else options.steps
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    speed.synchronize(device)
    return (time.perf_counter() - begin) / steps, steps
