"""A system in both ways."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from abhinaya.labels import CLASSES

Item = dict[str, Tensor | int]
SEED = 1234
COUNTS = [6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948]  # the challenge's training split (docs/fidelity.md)


@dataclass(frozen=True)
class Way:
    """One way to train.

    `item` returns the tensors of an utterance; `batch_size` is the number of utterances in a forward pass.
    """

    model: nn.Module
    item: Callable[[int], Item]
    batch_size: int


@dataclass(frozen=True)
class Case:
    """A system. `sizes`: of the utterances; `padded`: whose lengths tell how much padding a batch has.

    `compared`: utterances in the batch for which both ways must give the same logits.
    """

    ours: Way
    plain: Way
    sizes: list[float]
    padded: str
    compared: int


def label(index: int) -> int:
    return index % len(CLASSES)


def generator(index: int) -> np.random.Generator:
    """For the content of an utterance, the same in both ways."""
    return np.random.default_rng((SEED, index))
