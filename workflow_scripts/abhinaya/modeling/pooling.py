"""Attentive statistics pooling (Okabe et al. 2018)."""

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-5


class AttentiveStatisticsPooling(nn.Module):
    """Reduces a sequence of vectors to its attention-weighted mean and standard deviation.

    ``e_t = a . tanh(W x_t + b)``, ``w = softmax(e)``, ``mu = sum w_t x_t``, ``sigma^2 = sum w_t (x_t - mu)^2``.
    The variance equals the paper's ``sum w_t x_t^2 - mu^2`` without its cancellation. Everything after ``tanh`` is
    computed in float32, also for bf16 vectors and under autocast. The weights have the names of the authors'
    checkpoints (docs/fidelity.md).
    """

    def __init__(self, width: int, attention_init: float = 1.0) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.empty(width, 1).normal_(0.0, attention_init))

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Pool `vectors` (B, T, H) with `lengths` (B,) >= 1 to (B, 2 H) of the same dtype.

        The values of padding have no effect.
        """
        padding = torch.arange(vectors.shape[1], device=vectors.device) >= lengths[:, None]
        vectors = vectors.masked_fill(padding[..., None], 0.0)
        # Elementwise products with float32 are float32, without a float32 copy of bf16 vectors for the backward pass.
        scores = (torch.tanh(self.sap_linear(vectors)) * self.attention.squeeze(-1)).sum(-1)
        weights = scores.float().masked_fill(padding, float("-inf")).softmax(-1)[..., None]
        mean = (weights * vectors).sum(1)
        variance = (weights * (vectors - mean[:, None]).square()).sum(1)
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=-1).to(vectors.dtype)
