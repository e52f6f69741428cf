"""Items, random crops and batches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from abhinaya.config.system import SpeechEncoder
from abhinaya.data.dataset import UNKNOWN, LengthGrouped, Utterances, by_size, collate
from abhinaya.labels import CLASSES
from abhinaya.modeling.encoders import speech
from support.speech_corpus import RATE, WAVLM, make_manifest

SETTINGS = SpeechEncoder(model="random:wavlm", config=WAVLM, min_seconds=0.5, max_seconds=0.9)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return make_manifest(tmp_path_factory.mktemp("corpus"), {"train": "AHNSAH"})


def utterances(manifest: pd.DataFrame, seed: int | None = None, epoch: int = 0) -> Utterances:
    data = Utterances(manifest, speech.WaveformLoader(SETTINGS), seed)
    data.epoch = epoch
    return data


def test_an_item_is_a_clip_and_its_label(manifest: pd.DataFrame) -> None:
    data = utterances(manifest)
    assert len(data) == len(manifest) == len(data.sizes)
    for item, size, letter in zip(data, data.sizes, manifest["EmoClass"], strict=False):
        assert item.keys() == {"inputs", "labels"}
        assert item["inputs"].shape == (size,)
        assert CLASSES[item["labels"]] == letter


@pytest.mark.parametrize("letter", ["O", "X", None, np.nan])
def test_an_utterance_without_an_emotion_has_the_label_unknown(manifest: pd.DataFrame, letter: object) -> None:
    assert utterances(manifest.head(1).assign(EmoClass=letter))[0]["labels"] == UNKNOWN


def test_a_random_crop_depends_on_seed_epoch_and_row(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "ramp.wav", np.arange(2 * RATE) / 2**15, RATE, subtype="FLOAT")
    row = {"path": str(tmp_path / "ramp.wav"), "duration": 2.0, "EmoClass": "A"}
    rows = pd.DataFrame([row, row])

    def start(seed: int, epoch: int, index: int) -> float:
        return float(utterances(rows, seed, epoch)[index]["inputs"][0])

    starts = [start(seed, epoch, index) for seed in (1, 2) for epoch in (0, 1) for index in (0, 1)]
    again = [start(seed, epoch, index) for seed in (1, 2) for epoch in (0, 1) for index in (0, 1)]
    assert starts == again
    assert len(set(starts)) == 8
    data = utterances(rows, seed=1)
    torch.manual_seed(0)
    np.random.seed(0)
    workers = DataLoader(data, batch_size=1, num_workers=1)
    assert [float(item["inputs"][0, 0]) for item in workers] == starts[:2]
    middle = utterances(rows)[0]["inputs"][0]
    assert float(middle) == (2 * RATE - 0.9 * RATE) // 2 / 2**15


def test_collate_pads_with_zeros_and_returns_the_lengths() -> None:
    clips = [torch.ones(3), torch.ones(5), torch.ones(1)]
    batch = collate([{"inputs": clip, "labels": index} for index, clip in enumerate(clips)])
    assert batch["inputs"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    assert batch["lengths"].tolist() == [3, 5, 1]
    assert batch["labels"].tolist() == [0, 1, 2]
    frames = collate([{"vectors": torch.ones(length, 2), "labels": 0} for length in (2, 4)])
    assert frames["vectors"].shape == (2, 4, 2)
    assert frames["vectors"][0, 2:].abs().sum() == 0


sizes = st.lists(st.floats(0.1, 100), min_size=1, max_size=60)


@given(sizes, st.integers(1, 9))
def test_batches_by_size_contain_each_index_once_largest_first(sizes, batch_size):
    batches = by_size(sizes, batch_size)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert [sizes[index] for index in order] == sorted(sizes, reverse=True)


@given(sizes, st.integers(1, 9), st.integers(0, 1000), st.integers(0, 20))
def test_length_grouped_order_is_complete_and_depends_on_seed_and_epoch(sizes, batch_size, seed, epoch):
    def order(seed: int, epoch: int) -> list[int]:
        sampler = LengthGrouped(sizes, batch_size, seed)
        sampler.epoch = epoch
        assert len(sampler) == len(sizes)
        return list(sampler)

    assert sorted(order(seed, epoch)) == list(range(len(sizes)))
    assert order(seed, epoch) == order(seed, epoch)


def test_seeds_have_different_orders() -> None:
    """Also between epochs: epoch 1 of one seed is not epoch 0 of the next."""
    orders = set()
    for seed in (1, 2, 3):
        sampler = LengthGrouped([1.0] * 50, 8, seed)
        for sampler.epoch in range(20):
            orders.add(tuple(sampler))
    assert len(orders) == 3 * 20


def test_epochs_differ_and_batches_contain_similar_lengths() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.uniform(1, 10, 400)
    sampler = LengthGrouped(lengths.tolist(), 8, seed=1)
    first = list(sampler)
    sampler.epoch = 1
    assert list(sampler) != first
    spread = lengths[first].reshape(-1, 8).std(axis=1).mean()
    assert spread < 0.2 * lengths.std()
