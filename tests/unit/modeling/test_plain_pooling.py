"""Plain pooling, frame coverage and the standardisation of pooled vectors."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from abhinaya.config.system import Head
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.pooling import (
    AttentiveStatisticsPooling,
    MeanPooling,
    MeanStdPooling,
    SpeechPooling,
    Standardisation,
    frame_coverage,
)
from unit.modeling.test_classifier import COUNTS, Given

LENGTHS = torch.tensor([5, 1, 9, 2])


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("filling", [0.0, 1e30, torch.nan])
def test_mean_and_deviation_are_numpys_of_the_clip_without_padding(vectors: Tensor, filling: float) -> None:
    clips = [clip[:length].numpy().copy() for clip, length in zip(vectors, LENGTHS, strict=True)]
    for clip, length in zip(vectors, LENGTHS, strict=True):
        clip[length:] = filling
    mean = np.stack([clip.mean(0) for clip in clips])
    deviation = np.stack([np.sqrt(np.maximum(clip.var(0), 1e-5)) for clip in clips])
    np.testing.assert_allclose(MeanPooling()(vectors, LENGTHS), mean, atol=1e-6)
    np.testing.assert_allclose(MeanStdPooling()(vectors, LENGTHS), np.hstack([mean, deviation]), atol=1e-6)


def test_attention_without_a_preference_is_plain_pooling(vectors: Tensor) -> None:
    pool = AttentiveStatisticsPooling(6)
    torch.nn.init.zeros_(pool.attention)
    torch.testing.assert_close(pool(vectors, LENGTHS), MeanStdPooling()(vectors, LENGTHS))


def test_coverage_of_equal_weights_is_all_and_of_a_single_frame_one_in_its_length() -> None:
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    lengths = torch.tensor([4, 4, 2])
    torch.testing.assert_close(frame_coverage(weights, lengths), torch.tensor([1.0, 0.5, 0.5]))


def test_a_large_attention_vector_uses_few_frames(vectors: Tensor) -> None:
    torch.manual_seed(0)
    lengths = torch.full((4,), 9)
    narrow, wide = AttentiveStatisticsPooling(6, 100.0), AttentiveStatisticsPooling(6, 0.01)
    assert frame_coverage(narrow.pool(vectors, lengths)[1], lengths).mean() < 0.3
    assert frame_coverage(wide.pool(vectors, lengths)[1], lengths).min() > 0.99


def test_standardisation_is_that_of_scikit_learn(vectors: Tensor) -> None:
    scaler = StandardScaler().fit(vectors[0].double())
    layer = Standardisation(6)
    torch.testing.assert_close(layer(vectors[0]), vectors[0])  # before its statistics are set
    layer.set_statistics(torch.from_numpy(scaler.mean_), torch.from_numpy(scaler.scale_))
    np.testing.assert_allclose(layer(vectors[0]), scaler.transform(vectors[0].double()), atol=1e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.0), (7.0, 0.0), (7.0, 1e-7)])
def test_a_constant_dimension_stays_finite_and_small(mean: float, deviation: float) -> None:
    layer = Standardisation(1)
    layer.set_statistics(torch.tensor([mean]).double(), torch.tensor([deviation]).double())
    assert layer(torch.tensor([[mean + 1e-6]])).abs().item() < 1e-5
    assert layer.scale.item() == 1.0


@pytest.mark.parametrize(("pooling", "width"), [("attentive", 8), ("mean_std", 8), ("mean", 4)])
def test_the_first_layer_has_the_width_of_the_pooling(pooling: str, width: int) -> None:
    classifier = Classifier(Given(4), Head(hidden=5, pooling=pooling), COUNTS)
    assert classifier.fc.in_features == width
    outputs = classifier.eval()(inputs=torch.randn(2, 3, 4), lengths=torch.tensor([3, 2]))
    assert outputs["logits"].shape == (2, 8)
    assert (outputs["frame_coverage"] <= 1 + 1e-6).all()


def test_only_a_classifier_in_evaluation_measures_its_coverage() -> None:
    classifier = Classifier(Given(4), Head(hidden=5), COUNTS)
    assert classifier.train()(inputs=torch.randn(2, 3, 4), lengths=torch.tensor([3, 2])).keys() == {"logits"}


def test_the_statistics_are_stored_with_the_weights() -> None:
    classifier = Classifier(Given(4), Head(hidden=5, pooling="mean_std", standardise=True), COUNTS)
    assert {"standardisation.mean", "standardisation.scale"} <= classifier.saved().keys()


def test_the_scale_of_an_input_does_not_change_standardised_logits() -> None:
    torch.manual_seed(0)
    classifier = Classifier(Given(4), Head(hidden=5, pooling="mean", standardise=True), COUNTS).eval()
    inputs, lengths = torch.randn(20, 3, 4), torch.full((20,), 3)

    def logits(factor: float) -> Tensor:
        pooled = classifier.pooled(inputs=factor * inputs, lengths=lengths)[0].detach()
        classifier.standardisation.set_statistics(pooled.mean(0), pooled.std(0))
        return classifier(inputs=factor * inputs, lengths=lengths)["logits"]

    torch.testing.assert_close(logits(1.0), logits(1000.0), rtol=1e-4, atol=1e-5)


def test_speech_pooling_leaves_out_quiet_frames_in_its_second_half(vectors: Tensor) -> None:
    levels = torch.tensor([0.0, -34.0, -36.0, -80.0, -1.0, 0, 0, 0, 0])
    clip, lengths = torch.cat([vectors[:1], levels[None, :, None]], dim=-1), torch.tensor([5])
    whole, speech = SpeechPooling()(clip, lengths).chunk(2, dim=-1)
    torch.testing.assert_close(whole, MeanStdPooling()(vectors[:1], lengths))
    torch.testing.assert_close(speech, MeanStdPooling()(vectors[:1, [0, 1, 4]], torch.tensor([3])))


def test_speech_pooling_of_a_clip_without_pauses_repeats_its_statistics(vectors: Tensor) -> None:
    clips = torch.cat([vectors, torch.zeros(4, 9, 1)], dim=-1)
    whole, speech = SpeechPooling()(clips, LENGTHS).chunk(2, dim=-1)
    assert torch.equal(whole, speech)


def test_the_level_is_not_pooled_itself() -> None:
    classifier = Classifier(Given(5), Head(hidden=5, pooling="mean_std_speech"), COUNTS).eval()
    assert classifier.width == 16
    assert classifier(inputs=torch.zeros(2, 3, 5), lengths=torch.tensor([3, 2]))["logits"].shape == (2, 8)
