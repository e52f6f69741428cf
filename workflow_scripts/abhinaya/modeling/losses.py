"""The paper's three losses for imbalanced classes (equations 1-4).

With N training utterances, N_c of class c and C classes, every loss weights an utterance of class c by
``w_c = N / (N_c * C)`` and divides the batch's sum by the number of utterances, not by the sum of their weights.
The authors' code reduces differently (docs/fidelity.md, 1 and 2); the named reductions reproduce it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from abhinaya.config.system import AnyLoss

TINY = torch.finfo(torch.float32).tiny


def class_weights(counts: Sequence[int]) -> Tensor:
    """``w_c = N / (N_c * C)`` as float64 (C,); C counts the classes that occur, the others get weight 0."""
    counts = torch.as_tensor(counts, dtype=torch.float64)
    present = counts > 0
    return torch.where(present, counts.sum() / (counts * present.sum()), 0.0)


class ClassLoss(nn.Module):
    """A loss over the logits of C classes with known training counts.

    Subclasses define `unweighted`, the loss of each sample before its class weight. Classes without training utterances
    are ignored.

    In training, `label_smoothing` takes a share of each target away and divides it equally among the classes of the
    training data (Szegedy et al. 2016): the loss of a sample is its mean over these targets. For the cross-entropy
    this is torch's `label_smoothing`.
    """

    label_smoothing = 0.0

    def __init__(self, counts: Sequence[int], reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction
        self.register_buffer("weights", class_weights(counts))
        self.register_buffer("absent", torch.as_tensor(counts) == 0)

    def unweighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        raise TypeError("a loss is one of WeightedCrossEntropy, WeightedFocal, VectorScaling")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Weighted losses (B,) of `logits` (B, C) for the class indices `targets` (B,)."""
        return self.weights[targets].to(logits.dtype) * self._smoothed(logits, targets)

    def _smoothed(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Unweighted losses (B,), in training over the smoothed targets."""
        losses = self._of_present(logits, targets)
        if not (self.training and self.label_smoothing):
            return losses
        every = [self._of_present(logits, torch.full_like(targets, index)) for index in range(logits.shape[-1])]
        mean = torch.stack(every).sum(0) / (~self.absent).sum()  # absent classes have 0
        return (1 - self.label_smoothing) * losses + self.label_smoothing * mean

    def _of_present(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Unweighted losses (B,) over the classes of the training data; 0 for a target of another class."""
        logits = logits.masked_fill(self.absent, torch.finfo(logits.dtype).min)  # finite, since 0 x infinity is NaN
        return self.unweighted(logits, targets).masked_fill(self.absent[targets], 0.0)

    def forward(self, logits: Tensor, targets: Tensor, total: Tensor | int | None = None) -> Tensor:
        """The loss of the batch, a scalar.

        Args:
            logits: (B, C); half precision is converted to float32.
            targets: (B,) class indices.
            total: utterances in the optimiser step, if this batch is only a part of it (gradient accumulation, several
                GPUs); the losses of the parts then add up to the loss of the step. Default: B.
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        share = 1.0 if total is None else len(targets) / total
        if self.reduction == "mean":
            return share * self.per_sample(logits, targets).mean()
        weights = self.weights[targets].to(logits.dtype)
        if self.reduction == "weighted_mean":
            return share * self.per_sample(logits, targets).sum() / weights.sum().clamp(min=TINY)
        return share * self._smoothed(logits, targets).mean() * weights.mean()  # batch_weight


class WeightedCrossEntropy(ClassLoss):
    """Weighted cross-entropy, equation 1: ``-w_c log p_c``."""

    def unweighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets, reduction="none")


class WeightedFocal(ClassLoss):
    """Weighted focal loss, equation 2: ``-w_c (1 - p_c)^gamma log p_c``."""

    def __init__(self, counts: Sequence[int], gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(counts, reduction)
        self.gamma = gamma

    def unweighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        cross_entropies = cross_entropy(logits, targets, reduction="none")
        complement = -torch.expm1(-cross_entropies)  # 1 - p
        # At 0 the gradient of an exponent below 1 is infinite.
        return complement.clamp(min=TINY).pow(self.gamma) * cross_entropies


class VectorScaling(ClassLoss):
    """Vector scaling (VS loss), equation 3 with equation 4.

    The cross-entropy of ``(N_c / N_max)^gamma x_c + tau log(N_c / N)``, weighted by w_c.
    """

    def __init__(self, counts: Sequence[int], gamma: float = 0.3, tau: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(counts, reduction)
        present = torch.as_tensor(counts, dtype=torch.float64).masked_fill(self.absent, 1.0)
        self.register_buffer("multiplier", (present / max(counts)).pow(gamma))
        self.register_buffer("offset", tau * torch.log(present / sum(counts)))

    def unweighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        scaled = logits * self.multiplier.to(logits.dtype) + self.offset.to(logits.dtype)
        return cross_entropy(scaled, targets, reduction="none")


LOSSES: dict[str, type[ClassLoss]] = {"wce": WeightedCrossEntropy, "wfl": WeightedFocal, "vs": VectorScaling}


def build(settings: AnyLoss, counts: Sequence[int], label_smoothing: float = 0.0) -> ClassLoss:
    """The loss of the configuration for the training `counts` of the classes, in class order."""
    loss = LOSSES[settings.name](counts, **settings.model_dump(exclude={"name"}))
    loss.label_smoothing = label_smoothing
    return loss
