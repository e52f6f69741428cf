"""Probes: classifiers of scikit-learn on the pooled vectors of a frozen encoder, stored as arrays.

A probe shows what an encoder's vectors contain without any training of weights by gradient descent.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from abhinaya.config.head import Head
from abhinaya.labels import CLASSES
from abhinaya.modeling.classifier import Classifier, PooledClassifier

DOUBLE = torch.float64  # of all arrays, as in scikit-learn


class LogisticProbe(PooledClassifier):
    """Multinomial logistic regression."""

    def __init__(self, encoder: nn.Module, head: Head, counts: Sequence[int]) -> None:
        super().__init__(encoder, head, counts)
        self.register_buffer("weight", torch.zeros(len(CLASSES), self.width, dtype=DOUBLE))
        self.register_buffer("bias", torch.zeros(len(CLASSES), dtype=DOUBLE))

    def classify(self, pooled: Tensor) -> Tensor:
        return pooled.double() @ self.weight.T + self.bias


class SvmProbe(PooledClassifier):
    """A support vector machine for each class against all others, with a radial basis function as kernel.

    Its margins ``sum_i a_ic exp(-gamma |x - x_i|^2) + b_c`` over the training vectors x_i, times `slope`, are the
    logits (temperature scaling, Guo et al. 2017).
    """

    def __init__(self, encoder: nn.Module, head: Head, counts: Sequence[int]) -> None:
        super().__init__(encoder, head, counts)
        utterances = sum(counts)
        self.gamma = 1 / self.width  # of standardised vectors, as scikit-learn's gamma="scale"
        self.register_buffer("vectors", torch.zeros(utterances, self.width, dtype=DOUBLE))
        self.register_buffer("weight", torch.zeros(len(CLASSES), utterances, dtype=DOUBLE))  # 0 unless a support vector
        self.register_buffer("bias", torch.zeros(len(CLASSES), dtype=DOUBLE))
        self.register_buffer("slope", torch.ones((), dtype=DOUBLE))

    def classify(self, pooled: Tensor) -> Tensor:
        return self.slope * self.margins(pooled)

    def margins(self, pooled: Tensor) -> Tensor:
        """(B, W) -> (B, 8)."""
        distances = torch.cdist(pooled.double(), self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-self.gamma * distances.square()) @ self.weight.T + self.bias


KINDS: dict[str, type[PooledClassifier]] = {"mlp": Classifier, "logistic": LogisticProbe, "svm": SvmProbe}


def build(encoder: nn.Module, head: Head, counts: Sequence[int]) -> PooledClassifier:
    """The classifier of `head.kind`, for the training `counts` of the classes."""
    return KINDS[head.kind](encoder, head, counts)
