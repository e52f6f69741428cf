"""Pooling of a clip's vectors: attentive statistics pooling (the paper's), mean and standard deviation, mean."""

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-5
SPEECH_LEVEL = -35.0  # dB below the loudest frame
CONSTANT = 1e-5  # deviation of a constant dimension relative to its mean; float32 rounds by up to 6e-8


class MeanPooling(nn.Module):
    """Reduces a sequence of vectors to its mean: the base of all poolings, with equal weights."""

    statistics = 1  # of each dimension

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Pool `vectors` (B, T, H) with `lengths` (B,) >= 1 to (B, statistics x H) of the same dtype.

        The values of padding have no effect.
        """
        return self.pool(vectors, lengths)[0]

    def pool(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with the weights (B, T) of the vectors, which are 0 in padding and have the sum 1."""
        padding = torch.arange(vectors.shape[1], device=vectors.device) >= lengths[:, None]
        return self.pool_others(vectors, padding)

    def pool_others(self, vectors: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
        """As `pool`, over the vectors that are not `ignored` (B, T)."""
        vectors = vectors.masked_fill(ignored[..., None], 0.0)
        weights = self.scores(vectors).float().masked_fill(ignored, float("-inf")).softmax(-1)
        return self.summarise(vectors, weights[..., None]).to(vectors.dtype), weights

    def scores(self, vectors: Tensor) -> Tensor:
        """The logarithms of the weights (B, T), up to a constant for each clip."""
        return vectors.new_zeros(vectors.shape[:2])

    def summarise(self, vectors: Tensor, weights: Tensor) -> Tensor:
        """(B, T, H) and weights (B, T, 1) -> (B, statistics x H)."""
        return (weights * vectors).sum(1)


class MeanStdPooling(MeanPooling):
    """Reduces a sequence of vectors to its mean and standard deviation."""

    statistics = 2

    def summarise(self, vectors: Tensor, weights: Tensor) -> Tensor:
        mean = (weights * vectors).sum(1)
        variance = (weights * (vectors - mean[:, None]).square()).sum(1)
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=-1)


class SpeechPooling(MeanStdPooling):
    """Mean and standard deviation of all vectors, and again of those of its speech: pauses say little of an emotion.

    The last component of a vector is the level of its frame in dB below the clip's loudest; it is not pooled itself.
    """

    statistics = 4

    def pool(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        levels, vectors = vectors[..., -1], vectors[..., :-1]
        padding = torch.arange(vectors.shape[1], device=vectors.device) >= lengths[:, None]
        whole, weights = self.pool_others(vectors, padding)
        speech, _ = self.pool_others(vectors, padding | (levels < SPEECH_LEVEL))
        return torch.cat([whole, speech], dim=-1), weights


class AttentiveStatisticsPooling(MeanStdPooling):
    """Reduces a sequence of vectors to its attention-weighted mean and standard deviation (Okabe et al. 2018).

    ``e_t = a . tanh(W x_t + b)``, ``w = softmax(e)``, ``mu = sum w_t x_t``, ``sigma^2 = sum w_t (x_t - mu)^2``.
    The variance equals the paper's ``sum w_t x_t^2 - mu^2`` without its cancellation. Everything after ``tanh`` is
    computed in float32, also for bf16 vectors and under autocast. The weights have the names of the authors'
    checkpoints (docs/fidelity.md).
    """

    def __init__(self, width: int, attention_init: float = 1.0) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.empty(width, 1).normal_(0.0, attention_init))

    def scores(self, vectors: Tensor) -> Tensor:
        # Elementwise products with float32 are float32, without a float32 copy of bf16 vectors for the backward pass.
        return (torch.tanh(self.sap_linear(vectors)) * self.attention.squeeze(-1)).sum(-1)


def frame_coverage(weights: Tensor, lengths: Tensor) -> Tensor:
    """The share of a clip's vectors that its weights (B, T) use, (B,) in (0, 1].

    The perplexity of the weights, ``exp(-sum w_t log w_t)``, is the number of vectors that equal weights of the same
    entropy would use; here it is divided by the clip's `lengths` (B,).
    """
    return torch.special.entr(weights).sum(-1).exp() / lengths


class Standardisation(nn.Module):
    """Subtracts the mean of the training split's vectors and divides by their standard deviation.

    Both are buffers, stored with the weights; `set_statistics` sets them once, before the training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, W) -> (B, W) float32."""
        return (vectors.float() - self.mean) / self.scale

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and standard deviation (W,) of the training split.

        A dimension whose deviation is within the rounding errors of its values is constant: it is not divided.
        """
        constant = deviation <= CONSTANT * mean.abs()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(constant, 1.0, deviation))
