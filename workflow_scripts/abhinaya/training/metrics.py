"""What a training measures: scores of an evaluation, memory, and the summary in `metrics.json`."""

import resource

import numpy as np
import torch
from accelerate.utils import gather
from sklearn.metrics import accuracy_score, f1_score, recall_score


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Macro-F1 (the paper's measure), UAR and accuracy of `logits` (n, 8) for the class indices `labels` (n,)."""
    guess = logits.argmax(-1)
    return {
        "macro_f1": float(f1_score(labels, guess, average="macro", zero_division=0)),
        "uar": float(recall_score(labels, guess, average="macro", labels=np.unique(labels), zero_division=0)),
        "accuracy": float(accuracy_score(labels, guess)),
    }


def summary(epochs: list[dict], utterances: int, effective_batch: int) -> dict:
    """What `metrics.json` tells of the epochs.

    Args:
        epochs: as `Loop` records them. `loss`: the mean over all steps; `seconds`: training and evaluation, however
            often it was broken off; `train_seconds`: training alone, by the first process's clock.
        utterances: of the training split.
        effective_batch: utterances of an optimiser step.

    Returns:
        `best_epoch`: the first of equals. `seconds_per_step` and `utterances_per_second` (of all processes together):
        from the median epoch's `train_seconds`.
    """
    train_seconds = float(np.median([epoch["train_seconds"] for epoch in epochs]))
    return {
        "epochs": epochs,
        "best_epoch": max(epochs, key=lambda epoch: epoch["macro_f1"])["epoch"],
        "seconds_per_step": train_seconds / -(-utterances // effective_batch),
        "utterances_per_second": utterances / train_seconds,
    }


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """`peak_memory_mb` (resident) and `peak_gpu_memory_mb` (torch's tensors), each of the process that had most.

    To be called in all processes. Since a resumption, if there was one; without the processes that load audio.
    """
    on_gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    own = torch.tensor([[resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10, on_gpu // 2**20]], device=device)
    most, most_on_gpu = gather(own).amax(0).tolist()
    return {"peak_memory_mb": most, "peak_gpu_memory_mb": most_on_gpu if device.type == "cuda" else None}
