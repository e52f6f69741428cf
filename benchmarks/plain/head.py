"""The published head: pooling walks over the samples in Python."""

import torch
from torch import Tensor

from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.pooling import VARIANCE_FLOOR


def logits(classifier: Classifier, vectors: Tensor, lengths: list[int]) -> Tensor:
    """Vectors (B, T, H) and their lengths -> logits (B, 8), with the weights of `classifier`."""
    pool = classifier.pool
    if classifier.norm == "frames":
        vectors = classifier.ln(vectors)
    pooled = []
    for utterance, length in zip(vectors, lengths, strict=True):
        frames = utterance[:length]
        weights = (torch.tanh(pool.sap_linear(frames)) @ pool.attention).softmax(0)
        mean = (weights * frames).sum(0)
        variance = (weights * frames**2).sum(0) - mean**2
        pooled.append(torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()]))
    hidden = classifier.fc(torch.stack(pooled))
    if classifier.norm == "hidden":
        hidden = classifier.ln(hidden)
    return classifier.out(classifier.dropout(torch.relu(hidden)))
