"""Metrics of a training: scores of an evaluation, peak memory, and the summary in `metrics.json`."""

import resource

import numpy as np
import torch
from accelerate.utils import gather
from sklearn.metrics import accuracy_score, f1_score, recall_score

MIN_COVERAGE = 0.1  # of the frames; with less, attention selects moments instead of describing the clip


def coverage_warning(coverages: list[float]) -> str | None:
    """A warning in the first epoch whose frame coverage is low; None in all others.

    Args:
        coverages: the mean frame coverage of each epoch so far (`pooling.frame_coverage`).
    """
    *before, last = coverages
    if last >= MIN_COVERAGE or any(coverage < MIN_COVERAGE for coverage in before):
        return None
    return (
        f"warning: the attention uses {100 * last:.1f} % of a clip's frames; on a small corpus `head.pooling: "
        "mean_std` can be better"
    )


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Macro-F1 (the paper's measure), UAR and accuracy of `logits` (n, 8) for the class indices `labels` (n,)."""
    predicted = logits.argmax(-1)
    return {
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "uar": float(recall_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0)),
        "accuracy": float(accuracy_score(labels, predicted)),
    }


def summary(epochs: list[dict], utterances: int, effective_batch: int) -> dict:
    """The metrics of all epochs, for `metrics.json`.

    Args:
        epochs: as `Loop` records them. `loss`: mean over all steps; `seconds`: training and evaluation, summed over
            interruptions; `train_seconds`: training only. Times are those of the first process.
        utterances: in the training split.
        effective_batch: utterances per optimiser step.

    Returns:
        `epochs`; `best_epoch`: the first with the highest macro-F1; `seconds_per_step` and `utterances_per_second` (of
        all processes together), from the median of `train_seconds`.
    """
    train_seconds = float(np.median([epoch["train_seconds"] for epoch in epochs]))
    return {
        "epochs": epochs,
        "best_epoch": max(epochs, key=lambda epoch: epoch["macro_f1"])["epoch"],
        "seconds_per_step": train_seconds / -(-utterances // effective_batch),
        "utterances_per_second": utterances / train_seconds,
    }


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """`peak_memory_mb` (resident) and `peak_gpu_memory_mb` (torch's tensors), each the maximum over the processes.

    All processes must call this. Excludes data-loading processes, and the time before a resumption.
    """
    on_gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    here = torch.tensor([[resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10, on_gpu // 2**20]], device=device)
    memory, gpu_memory = gather(here).amax(0).tolist()
    return {"peak_memory_mb": memory, "peak_gpu_memory_mb": gpu_memory if device.type == "cuda" else None}
