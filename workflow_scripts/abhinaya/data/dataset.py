"""Utterances for torch: loading, batching by length, padding."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from abhinaya.labels import INDEX

UNKNOWN = -1  # the label of an utterance without one of the eight emotions


class Loader(Protocol):
    """Reads one utterance. It has no weights, so that it can be pickled for worker processes."""

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Prepare all rows before any is loaded. Returns the rows, and remarks for the user."""

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """The tensors of one utterance, time first; with a `generator`, of a random crop."""

    def size(self, row: dict[str, Any]) -> float:
        """The length of an utterance in any unit, for batches of similar length."""


class Utterances(Dataset):
    """Manifest rows as tensors for the encoder.

    With a `seed`, crops are random. They depend only on seed, epoch and row, not on the number of workers or on a
    restart.
    """

    def __init__(self, rows: pd.DataFrame, loader: Loader, seed: int | None = None) -> None:
        prepared, self.remarks = loader.prepare(rows)
        self.rows: list[dict[str, Any]] = prepared.to_dict("records")
        self.labels = [INDEX.get(row["EmoClass"], UNKNOWN) for row in self.rows]
        self.loader = loader
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        row = self.rows[index]
        generator = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, index))
        return {**self.loader.load(row, generator), "labels": self.labels[index]}

    @property
    def sizes(self) -> list[float]:
        return [self.loader.size(row) for row in self.rows]


def collate(items: Sequence[dict[str, Tensor | int]]) -> dict[str, Tensor]:
    """Pad each tensor with zeros to the longest of the batch.

    `lengths` (B,) has the lengths before padding; with several tensors per item, `NAME_lengths` has those of each.
    """
    batch: dict[str, Tensor] = {"labels": torch.tensor([item["labels"] for item in items])}
    names = [name for name in items[0] if name != "labels"]
    for name in names:
        lengths = "lengths" if len(names) == 1 else f"{name}_lengths"
        batch[lengths] = torch.tensor([len(item[name]) for item in items])
        batch[name] = nn.utils.rnn.pad_sequence([item[name] for item in items], batch_first=True)
    return batch


def by_size(sizes: Sequence[float], batch_size: int) -> list[list[int]]:
    """Batches of similar size, the largest first: little padding, and a lack of memory shows in the first batch."""
    order = largest_first(sizes)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def largest_first(sizes: Sequence[float]) -> list[int]:
    """Indices by descending size; equal sizes keep their order."""
    return np.argsort(-np.asarray(sizes), kind="stable").tolist()


class LengthGrouped(Sampler[int]):
    """A random order with batches of similar length; depends only on seed and epoch."""

    def __init__(self, sizes: Sequence[float], batch_size: int, seed: int) -> None:
        self.sizes, self.batch_size, self.seed, self.epoch = sizes, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[int]:
        # Mixed, not added: seed 1 in epoch 1 would repeat the order of seed 2 in epoch 0.
        (mixed,) = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed))
        return iter(get_length_grouped_indices(self.sizes, self.batch_size, generator=generator))
