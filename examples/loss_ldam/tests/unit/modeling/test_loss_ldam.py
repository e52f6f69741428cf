"""LDAM against its equation, term by term, and against torch's cross-entropy."""

from math import exp, log

import pytest
import torch
from torch.nn.functional import cross_entropy

from abhinaya.config.system import Ldam
from abhinaya.modeling import losses

COUNTS = [16, 81, 256, 0, 0, 0, 0, 0]  # fourth roots 2, 3, 4
MARGINS = [0.5, 1 / 3, 1 / 4]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return logits.requires_grad_(), torch.tensor([0, 1, 2, 2, 1, 0])


def test_it_is_the_equation() -> None:
    logits, targets = batch()
    loss = losses.build(Ldam(name="ldam"), COUNTS)
    expected = []
    for x, c in zip(logits.tolist(), targets.tolist(), strict=True):
        own = exp(x[c] - MARGINS[c])
        others = sum(exp(x[j]) for j in range(3) if j != c)
        expected.append(-(353 / (3 * COUNTS[c])) * log(own / (own + others)))
    assert loss.per_sample(logits, targets).tolist() == pytest.approx(expected, rel=1e-12)
    assert loss(logits, targets).item() == pytest.approx(sum(expected) / 6, rel=1e-12)


def test_without_a_margin_it_is_weighted_cross_entropy() -> None:
    logits, targets = batch()
    found = losses.build(Ldam(name="ldam", margin=0.0), COUNTS)(logits, targets)
    weight = losses.class_weights(COUNTS)[:3]
    torch.testing.assert_close(found, cross_entropy(logits[:, :3], targets, weight, reduction="sum") / 6)


def test_classes_that_training_lacks_get_no_gradient() -> None:
    logits, targets = batch()
    losses.build(Ldam(name="ldam"), COUNTS)(logits, targets).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 3:] == 0).all() and (logits.grad[:, :3] != 0).all()
