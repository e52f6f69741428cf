"""Attentive statistics pooling: its formula, its padding, its golden numbers."""

import pytest
import torch
from torch import Tensor

from abhinaya.modeling.pooling import AttentiveStatisticsPooling

LENGTHS = torch.tensor([5, 1, 9, 2])


@pytest.fixture(scope="module")
def pool() -> AttentiveStatisticsPooling:
    torch.manual_seed(0)
    return AttentiveStatisticsPooling(6).double()


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def one_clip(pool: AttentiveStatisticsPooling, clip: Tensor) -> Tensor:
    """The formula of Okabe et al. (equations 4, 5, 7, 8), in a loop over time steps."""
    scores = torch.stack([pool.attention[:, 0] @ torch.tanh(pool.sap_linear(x)) for x in clip])
    weights = scores.exp() / scores.exp().sum()
    mean = sum(w * x for w, x in zip(weights, clip, strict=True))
    square = sum(w * x * x for w, x in zip(weights, clip, strict=True))
    return torch.cat([mean, torch.sqrt(torch.clamp(square - mean * mean, min=1e-5))])


def test_equals_a_loop_over_clips(pool: AttentiveStatisticsPooling, vectors: Tensor) -> None:
    expected = torch.stack([one_clip(pool, clip[:length]) for clip, length in zip(vectors, LENGTHS, strict=True)])
    assert expected.shape == (4, 12)
    torch.testing.assert_close(pool(vectors, LENGTHS), expected, rtol=1e-6, atol=1e-7)  # weights are float32


@pytest.mark.parametrize("padding", [1e30, -1e4, torch.nan, torch.inf])
def test_padding_has_no_influence(pool: AttentiveStatisticsPooling, vectors: Tensor, padding: float) -> None:
    def pooled_and_gradients(filling: float) -> tuple[Tensor, ...]:
        filled = vectors.clone()
        for clip, length in zip(filled, LENGTHS, strict=True):
            clip[length:] = filling
        filled.requires_grad_()
        pooled = pool(filled, LENGTHS)
        return pooled, *torch.autograd.grad(pooled.square().sum(), [filled, *pool.parameters()])

    for actual, expected in zip(pooled_and_gradients(padding), pooled_and_gradients(0.0), strict=True):
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_more_padding_has_no_effect(pool: AttentiveStatisticsPooling, vectors: Tensor) -> None:
    longer = torch.cat([vectors, torch.ones(4, 20, 6, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(pool(longer, LENGTHS), pool(vectors, LENGTHS), rtol=1e-7, atol=1e-8)


def test_one_vector_is_its_own_mean(pool: AttentiveStatisticsPooling, vectors: Tensor) -> None:
    single = vectors[:, :1].requires_grad_()
    pooled = pool(single, torch.ones(4, dtype=torch.long))
    torch.testing.assert_close(pooled[:, :6], single[:, 0])
    torch.testing.assert_close(pooled[:, 6:], torch.full((4, 6), 1e-5, dtype=torch.float64).sqrt())
    pooled.sum().backward()
    assert torch.isfinite(single.grad).all()


def test_a_constant_sequence_keeps_finite_gradients(pool: AttentiveStatisticsPooling) -> None:
    """As for silence: the variance is 0, where the gradient of a square root is infinite."""
    silence = torch.full((1, 7, 6), 0.3, dtype=torch.float64, requires_grad=True)
    pool(silence, torch.tensor([7])).sum().backward()
    assert torch.isfinite(silence.grad).all()


@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_vectors_keep_their_standard_deviation(autocast: bool) -> None:
    """With a standard deviation much smaller than the mean, as in the vectors of language models."""
    torch.manual_seed(0)
    pool = AttentiveStatisticsPooling(256, attention_init=0.1)
    vectors = (3 * torch.randn(256) + torch.rand(256) * torch.randn(4, 200, 256)).bfloat16()
    lengths = torch.tensor([200, 150, 50, 120])
    mean, spread = pool.double()(vectors.double(), lengths).chunk(2, dim=-1)
    pool.to(torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        actual = pool(vectors, lengths)
    assert actual.dtype == vectors.dtype
    found_mean, found_spread = actual.double().chunk(2, dim=-1)
    assert ((found_mean - mean) / mean).abs().median() < 0.004  # bf16 rounds by up to 0.4 %
    assert ((found_spread - spread) / spread).abs().mean() < 0.01


def test_initial_attention_has_the_configured_deviation() -> None:
    torch.manual_seed(0)
    wide = AttentiveStatisticsPooling(4000, attention_init=0.1)
    assert wide.attention.std().item() == pytest.approx(0.1, rel=0.1)
