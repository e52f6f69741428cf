"""The classifier that S1, S2, T2 and ST1 share: encoder -> pooling -> head -> eight logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from abhinaya.config.system import Head
from abhinaya.labels import CLASSES
from abhinaya.modeling import pooling


class PooledClassifier(nn.Module):
    """Encoder and pooling; subclasses classify the pooled vector.

    The encoder is a module with `width` (the size H of its vectors), `random_parts` (the prefixes of frozen weights
    that must be stored, since they cannot be obtained elsewhere) and a forward that maps its inputs to vectors
    (B, T, H) and lengths (B,).
    """

    def __init__(self, encoder: nn.Module, head: Head, counts: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool = _pooling(head, encoder.width)
        levels = isinstance(self.pool, pooling.SpeechPooling)  # the last component, which is not pooled
        self.width = self.pool.statistics * (encoder.width - levels)  # of a pooled vector
        self.standardisation = pooling.Standardisation(self.width) if head.standardise else nn.Identity()
        self.register_buffer("untrained", torch.as_tensor(counts) == 0, persistent=False)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """The encoder's inputs -> `logits` (B, 8) in class order; minus infinity for a class without training data.

        In evaluation also `frame_coverage` (B,), the share of the vectors that the pooling uses.
        """
        pooled, weights, lengths = self.pooled(**inputs)
        logits = self.classify(self.standardisation(pooled)).float()
        outputs = {"logits": logits.masked_fill(self.untrained, float("-inf"))}
        if not self.training:
            outputs["frame_coverage"] = pooling.frame_coverage(weights, lengths)
        return outputs

    def pooled(self, **inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's inputs -> pooled vectors (B, W), weights of the vectors (B, T) and lengths (B,)."""
        vectors, lengths = self.encoder(**inputs)
        return *self.pool.pool(self.normalise(vectors), lengths), lengths

    def normalise(self, vectors: Tensor) -> Tensor:
        """Vectors (B, T, H) before the pooling."""
        return vectors

    def classify(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, W) -> logits (B, 8)."""
        raise TypeError("a classifier is a Classifier or a probe")

    def saved(self) -> dict[str, Tensor]:
        """The weights that a checkpoint contains: those that cannot be obtained elsewhere."""
        random_parts = tuple(f"encoder.{prefix}" for prefix in self.encoder.random_parts)
        weights = {
            name: parameter.detach()
            for name, parameter in self.named_parameters()
            if parameter.requires_grad or name.startswith(random_parts)
        }
        arrays = {name: buffer for name, buffer in self.named_buffers() if not name.startswith("encoder.")}
        del arrays["untrained"]
        return weights | arrays


class Classifier(PooledClassifier):
    """The trained classifier. The head's weights have the names of the authors' checkpoints."""

    def __init__(self, encoder: nn.Module, head: Head, counts: Sequence[int]) -> None:
        super().__init__(encoder, head, counts)
        self.norm = head.norm
        self.ln = nn.LayerNorm(encoder.width if head.norm == "frames" else head.hidden)
        self.input_dropout = nn.Dropout(head.input_dropout)
        self.fc = nn.Linear(self.width, head.hidden)
        self.dropout = nn.Dropout(head.dropout)
        self.out = nn.Linear(head.hidden, len(CLASSES))

    def normalise(self, vectors: Tensor) -> Tensor:
        return self.ln(vectors) if self.norm == "frames" else vectors

    def classify(self, pooled: Tensor) -> Tensor:
        hidden = self.fc(self.input_dropout(pooled))
        if self.norm == "hidden":
            hidden = self.ln(hidden)
        return self.out(self.dropout(torch.relu(hidden)))


def _pooling(head: Head, width: int) -> pooling.MeanPooling:
    if head.pooling == "attentive":
        return pooling.AttentiveStatisticsPooling(width, head.attention_init)
    plain = {"mean": pooling.MeanPooling, "mean_std": pooling.MeanStdPooling, "mean_std_speech": pooling.SpeechPooling}
    return plain[head.pooling]()
