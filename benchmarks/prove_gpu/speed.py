"""Floating-point operations, the device's peak, its idle share, and the time of a whole training."""

import time
from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

UTTERANCES = 66_977  # the challenge's training split
EPOCHS = 20
CLIP_SECONDS = 5.8  # the mean of the corpus
PEAK_SIZES = {"cuda": 8192, "cpu": 1024}  # of the square matrices
PEAK_REPEATS = {"cuda": 20, "cpu": 5}
FORMULA = (
    "torch's FlopCounterMode: 2 per multiply-add of all matrix products, convolutions and attention (in full, also "
    "where it is causal) in one forward and backward pass; what gradient checkpointing computes again is not counted, "
    "and WavLM's layers that layer drop skips, a tenth, are"
)


def operations(step: Callable[[], object]) -> int:
    """The floating-point operations of `step`, as in `FORMULA`."""
    # Attention as plain matrix products: the counter has no formula for some of the fused kernels.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def peak(device: torch.device) -> float:
    """FLOP/s of a large matrix product in the precision that trainings use: bf16 on a GPU, fp32 on a CPU."""
    size, dtype = PEAK_SIZES[device.type], torch.bfloat16 if device.type == "cuda" else torch.float32
    one, two = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(PEAK_REPEATS[device.type]):  # warm up
        one @ two
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(PEAK_REPEATS[device.type]):
        one @ two
    synchronize(device)
    return 2 * size**3 * PEAK_REPEATS[device.type] / (time.perf_counter() - begin)


def idle_share(step: Callable[[], object], steps: int, seconds: float) -> float:
    """The share of a step's `seconds` in which the GPU computes nothing, mostly since it waits for launches.

    The profiler slows down the CPU but not the kernels, so `seconds` is measured without it.
    """
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    kernels = (
        (event.time_range.start, event.time_range.end)
        for event in profiled.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return max(0.0, 1 - covered(kernels) / 1e6 / steps / seconds)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def hours(clips_per_second: float, epochs: int = EPOCHS) -> float:
    """Of a training of the paper, without its evaluations."""
    return epochs * UTTERANCES / clips_per_second / 3600


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
