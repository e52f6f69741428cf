"""The paper's losses against golden numbers computed from its equations in float64."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from abhinaya.config.system import Vs, Wce, Wfl
from abhinaya.labels import CLASSES
from abhinaya.modeling import losses
from abhinaya.modeling.losses import VectorScaling, WeightedCrossEntropy, WeightedFocal

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
ARRAYS = dict(np.load(GOLDEN / "losses.npz"))
FACTS = json.loads((GOLDEN / "losses.json").read_text())
COUNTS = FACTS["challenge_counts"]
BATCHES = ("one", "batch", "other", "extreme")
NAMES = ("wce", "wfl", "vs")
PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def golden(batch: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, list[int]]:
    """Logits that require a gradient, targets, class counts."""
    logits = torch.tensor(ARRAYS[f"{batch}_logits"], dtype=dtype, requires_grad=True)
    return logits, torch.tensor(ARRAYS[f"{batch}_targets"]), ARRAYS[f"{batch}_counts"].tolist()


def assert_near(actual: Tensor, expected: np.ndarray | float, tolerance: float) -> None:
    """Compare relative to each number; numbers near zero relative to the largest."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(
        actual.detach().double().numpy(),
        expected,
        rtol=tolerance,
        atol=tolerance * 1e-2 * max(1.0, abs(expected).max()),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_value_per_sample_and_gradient(name: str, batch: str, dtype: torch.dtype, tolerance: float) -> None:
    logits, targets, counts = golden(batch, dtype)
    loss = losses.LOSSES[name](counts)
    value = loss(logits, targets)
    value.backward()
    assert value.dtype == dtype
    assert_near(value, ARRAYS[f"{batch}_{name}"], tolerance)
    assert_near(value, FACTS["values"][f"{batch}_{name}"], tolerance)
    assert_near(loss.per_sample(logits, targets), ARRAYS[f"{batch}_{name}_per_sample"], tolerance)
    assert_near(logits.grad, ARRAYS[f"{batch}_{name}_grad"], tolerance)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (Wce(name="wce", reduction="weighted_mean"), "NOT_wce_divided_by_sum_of_weights"),
        (Vs(name="vs", reduction="weighted_mean"), "NOT_vs_divided_by_sum_of_weights"),
        (Wfl(name="wfl", reduction="batch_weight"), "NOT_wfl_mean_focal_times_mean_weight"),
    ],
)
def test_the_reductions_of_the_authors_code(batch: str, settings: Wce | Wfl | Vs, key: str) -> None:
    logits, targets, counts = golden(batch)
    assert_near(losses.build(settings, counts)(logits, targets), FACTS["values"][f"{batch}_{key}"], 1e-10)


def test_class_weights_of_the_challenge() -> None:
    np.testing.assert_allclose(losses.class_weights(COUNTS), FACTS["challenge_weights"], rtol=1e-14)
    weights = losses.class_weights(COUNTS)
    assert float(weights @ torch.tensor(COUNTS, dtype=torch.float64)) == pytest.approx(sum(COUNTS))


def test_class_weights_without_a_class() -> None:
    assert losses.class_weights([2, 0, 6]).tolist() == [2.0, 0.0, 8 / 12]


def test_vs_adjustments_of_the_challenge() -> None:
    loss = VectorScaling(COUNTS)
    np.testing.assert_allclose(loss.multiplier, FACTS["vs_multiplier"], rtol=1e-14)
    np.testing.assert_allclose(loss.offset, FACTS["vs_offset"], rtol=1e-14)


def test_the_configuration_reaches_the_loss() -> None:
    assert losses.build(Wfl(name="wfl", gamma=1.5), COUNTS).gamma == 1.5
    built = losses.build(Vs(name="vs", gamma=0.15, tau=0.5), COUNTS)
    np.testing.assert_allclose(built.multiplier, np.asarray(FACTS["vs_multiplier"]) ** 0.5, rtol=1e-14)
    np.testing.assert_allclose(built.offset, 0.5 * np.asarray(FACTS["vs_offset"]), rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [[32], [8, 8, 8, 8], [1, 31], [5, 11, 16]])
def test_losses_of_parts_add_up_to_that_of_the_step(name: str, parts: list[int]) -> None:
    logits, targets, counts = golden("batch")
    loss = losses.LOSSES[name](counts)
    pieces = zip(logits.split(parts), targets.split(parts), strict=True)
    total = sum(loss(some, those, torch.tensor(len(targets))) for some, those in pieces)
    total.backward()
    assert_near(total, ARRAYS[f"batch_{name}"], 1e-12)
    assert_near(logits.grad, ARRAYS[f"batch_{name}_grad"], 1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_converted_to_float32(dtype: torch.dtype) -> None:
    logits, targets, counts = golden("batch")
    half = logits.detach().to(dtype)
    for kind in losses.LOSSES.values():
        value = kind(counts)(half, targets)
        assert value.dtype == torch.float32
        assert_near(value, kind(counts)(half.double(), targets).item(), 1e-5)


# --- a class without training utterances


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_class_is_ignored(name: str) -> None:
    """The value and the gradients of the other classes are those of a loss with seven classes."""
    logits, targets, _ = golden("batch")
    absent, kept = 3, [0, 1, 2, 4, 5, 6, 7]
    here = targets != absent
    counts = [count * (index != absent) for index, count in enumerate(COUNTS)]
    value = losses.LOSSES[name](counts)(logits[here], targets[here])
    value.backward()

    fewer = logits.detach()[:, kept].clone().requires_grad_()
    renumbered = targets[here] - (targets[here] > absent).long()
    expected = losses.LOSSES[name]([COUNTS[index] for index in kept])(fewer[here], renumbered)
    expected.backward()
    assert_near(value, expected.item(), 1e-12)
    assert_near(logits.grad[:, kept], fewer.grad.numpy(), 1e-12)
    assert (logits.grad[:, absent] == 0).all()


@pytest.mark.parametrize(
    "loss",
    [
        WeightedCrossEntropy([4, 0, 2]),
        WeightedCrossEntropy([4, 0, 2], "weighted_mean"),
        WeightedFocal([4, 0, 2]),
        WeightedFocal([4, 0, 2], reduction="batch_weight"),
        VectorScaling([4, 0, 2]),
        VectorScaling([4, 0, 2], reduction="weighted_mean"),
    ],
)
def test_a_target_of_an_absent_class_has_zero_loss(loss: losses.ClassLoss) -> None:
    """Validation may have a class that is not in the training data; its loss must be finite."""
    logits = torch.tensor([[1.0, -torch.inf, 0.5], [0.3, -torch.inf, 0.1], [2.0, -torch.inf, 1.0]], requires_grad=True)
    value = loss(logits, torch.tensor([0, 1, 2]))
    value.backward()
    assert torch.isfinite(value) and value > 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[1] == 0).all()
    assert loss(logits, torch.tensor([1, 1, 1])) == 0
    assert loss.per_sample(logits, torch.tensor([0, 1, 2]))[1] == 0


# --- properties

batches = st.builds(
    lambda seed, size, scale: (
        scale * torch.randn(size, len(CLASSES), generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        torch.randint(len(CLASSES), (size,), generator=torch.Generator().manual_seed(seed + 1)),
    ),
    st.integers(0, 2**31),
    st.integers(1, 9),
    st.floats(0.01, 50),
)
counts_of_classes = st.lists(st.integers(1, 30_000), min_size=8, max_size=8)


@given(batches, counts_of_classes)
@settings(max_examples=25)
def test_losses_without_exponents_are_weighted_cross_entropy(batch, counts):
    expected = WeightedCrossEntropy(counts)(*batch)
    torch.testing.assert_close(WeightedFocal(counts, gamma=0.0)(*batch), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(VectorScaling(counts, gamma=0.0, tau=0.0)(*batch), expected, rtol=1e-12, atol=1e-12)


@given(batches, counts_of_classes, st.sampled_from(NAMES), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_a_batch_does_not_matter(batch, counts, name, random):
    logits, targets = batch
    order = list(range(len(targets)))
    random.shuffle(order)
    loss = losses.LOSSES[name](counts)
    torch.testing.assert_close(loss(logits[order], targets[order]), loss(logits, targets), rtol=1e-12, atol=1e-12)


@given(batches, counts_of_classes, st.sampled_from(NAMES), st.floats(-100, 100))
@settings(max_examples=25)
def test_losses_are_not_negative_and_wce_depends_on_differences(batch, counts, name, shift):
    logits, targets = batch
    assert (losses.LOSSES[name](counts).per_sample(logits, targets) >= 0).all()
    loss = WeightedCrossEntropy(counts)
    torch.testing.assert_close(loss(logits + shift, targets), loss(logits, targets), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("margin", [0.0, 20.0, 60.0, 200.0])
@pytest.mark.parametrize("target", [0, 1])
def test_focal_loss_is_finite_for_all_exponents(gamma: float, margin: float, target: int) -> None:
    logits = torch.tensor([[margin, 0.0, 0.0]], requires_grad=True)
    value = WeightedFocal([1, 1, 1], gamma)(logits, torch.tensor([target]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("targets", [[0], [0, 2, 2, 1]])
def test_label_smoothing_of_the_cross_entropy_is_torchs(targets: list[int]) -> None:
    logits = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = losses.build(Wce(name="wce"), [1, 1, 1], label_smoothing=0.3)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), label_smoothing=0.3)
    torch.testing.assert_close(loss(logits, torch.tensor(targets)), expected)
    loss.eval()  # the validation loss is that of the labels
    torch.testing.assert_close(
        loss(logits, torch.tensor(targets)), torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    )


@pytest.mark.parametrize("settings", [Wce(name="wce"), Wfl(name="wfl"), Vs(name="vs")])
def test_smoothed_labels_leave_out_absent_classes(settings: object) -> None:
    counts = [3, 0, 1]
    loss = losses.build(settings, counts, label_smoothing=0.4)
    logits = torch.tensor([[0.3, 0.7, -1.0]], dtype=torch.float64, requires_grad=True)
    plain = losses.build(settings, counts)
    one, other = (plain.unweighted(logits.masked_fill(plain.absent, -1e300), torch.tensor([c])) for c in (0, 2))
    expected = loss.weights[0] * (0.8 * one + 0.2 * other)
    torch.testing.assert_close(loss(logits, torch.tensor([0])), expected.squeeze())
    loss(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 1] == 0
