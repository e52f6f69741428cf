"""The gradients of an optimiser step do not depend on how its utterances are divided into batches."""

import numpy as np
import pytest
import torch
from torch import Tensor

from abhinaya.config.system import Vs, Wce, Wfl
from abhinaya.data.dataset import collate
from abhinaya.modeling import encoders, losses
from abhinaya.modeling.classifier import Classifier
from support.speech_corpus import NOT_RANDOM, RATE, system

EFFECTIVE = 32
COUNTS = [9, 1, 4, 2, 20, 30, 8, 0]
SETTINGS = system(config=NOT_RANDOM, head={"dropout": 0.0})


@pytest.fixture(scope="module")
def utterances() -> list[dict[str, Tensor | int]]:
    rng = np.random.default_rng(1)
    seconds = rng.uniform(0.3, 1.0, EFFECTIVE)
    return [
        {"inputs": torch.from_numpy(rng.normal(0, 0.1, int(RATE * length)).astype(np.float32)), "labels": index % 7}
        for index, length in enumerate(seconds)
    ]


def gradients(
    utterances: list[dict[str, Tensor | int]], loss: losses.ClassLoss, batch_size: int
) -> tuple[float, dict[str, Tensor]]:
    """The loss of a step and the gradient of each trained weight, accumulated over batches of `batch_size`."""
    torch.manual_seed(1)
    _, encoder = encoders.build(SETTINGS, 1, torch.device("cpu"))
    classifier = Classifier(encoder, SETTINGS.head, COUNTS).train()
    total = 0.0
    for start in range(0, EFFECTIVE, batch_size):
        batch = collate(utterances[start : start + batch_size])
        labels = batch.pop("labels")
        part = loss(classifier(**batch)["logits"], labels, EFFECTIVE)
        part.backward()
        total += part.item()
    return total, {name: weight.grad for name, weight in classifier.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("settings", [Wce(name="wce"), Wfl(name="wfl"), Vs(name="vs")], ids=lambda loss: loss.name)
def test_accumulated_gradients_are_those_of_one_batch(
    settings: Wce | Wfl | Vs, utterances: list[dict[str, Tensor | int]]
) -> None:
    """One batch of 32, as on 80 GB, against the paper's 4 of 8 and 8 of 4."""
    loss = losses.build(settings, COUNTS)
    value, whole = gradients(utterances, loss, EFFECTIVE)
    assert any("q_proj" in name for name in whole)
    for batch_size in (8, 4):
        again, accumulated = gradients(utterances, loss, batch_size)
        assert again == pytest.approx(value, rel=1e-5)
        assert accumulated.keys() == whole.keys()
        for name, gradient in whole.items():
            scale = max(1e-3, gradient.abs().max().item())
            torch.testing.assert_close(accumulated[name] / scale, gradient / scale, rtol=1e-4, atol=1e-4, msg=name)
