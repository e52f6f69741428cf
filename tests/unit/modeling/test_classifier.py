"""The head against golden numbers of the authors' code; storing and restoring the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from abhinaya.config.system import Head
from abhinaya.modeling import checkpoint
from abhinaya.modeling.classifier import Classifier
from abhinaya.runtime.errors import UserError
from support import golden as golden_numbers
from support.given import COUNTS, Given
from support.messages import assert_names

ARRAYS = golden_numbers.arrays("head")
CASES = ("t2_short", "t2_plain", "t2_middle")


@pytest.fixture(scope="module")
def golden() -> Classifier:
    listing = golden_numbers.listing("head")
    head = Classifier(Given(128), Head(norm="frames", hidden=1024), COUNTS)
    weights = golden_numbers.weights(listing["seed"], listing["weights"])
    unused = head.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    assert unused.unexpected_keys == []
    assert unused.missing_keys == ["encoder.scale", "encoder.frozen"]
    return head.eval()


def padded(kind: str) -> tuple[Tensor, Tensor]:
    """The three golden sequences in one batch."""
    clips = [torch.from_numpy(ARRAYS[f"{case}_{kind}"]) for case in CASES]
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


@torch.inference_mode()
def test_golden_layer_norm_and_pooling(golden: Classifier) -> None:
    hidden, lengths = padded("hidden")
    expected, _ = padded("ln")
    real = torch.arange(hidden.shape[1]) < lengths[:, None]
    np.testing.assert_allclose(golden.ln(hidden)[real], expected[real], atol=1e-5)
    pooled = np.stack([ARRAYS[f"{case}_pooled"] for case in CASES])
    np.testing.assert_allclose(golden.pool(expected, lengths), pooled, atol=1e-5)


@torch.inference_mode()
def test_golden_logits_alone_and_in_a_batch(golden: Classifier) -> None:
    hidden, lengths = padded("hidden")
    expected = np.stack([ARRAYS[f"{case}_logits"] for case in CASES])
    np.testing.assert_allclose(golden(inputs=hidden, lengths=lengths)["logits"], expected, atol=1e-5)
    for clip, length, logits in zip(hidden, lengths, expected, strict=True):
        alone = golden(inputs=clip[None, :length], lengths=length[None])["logits"][0]
        np.testing.assert_allclose(alone, logits, atol=1e-5)


@torch.inference_mode()
def test_the_norm_of_s1_comes_after_the_hidden_layer() -> None:
    torch.manual_seed(0)
    classifier = Classifier(Given(4), Head(hidden=5), COUNTS).eval()
    vectors, lengths = torch.randn(2, 3, 4), torch.tensor([3, 2])
    hidden = classifier.fc(classifier.pool(vectors, lengths))
    centred = (hidden - hidden.mean(1, keepdim=True)) / torch.sqrt(hidden.var(1, correction=0, keepdim=True) + 1e-5)
    expected = torch.relu(centred) @ classifier.out.weight.T + classifier.out.bias
    torch.testing.assert_close(classifier(inputs=vectors, lengths=lengths)["logits"], expected)


def test_a_class_without_training_utterances_is_never_predicted() -> None:
    classifier = Classifier(Given(4), Head(hidden=5), [3, 0, 1, 1, 1, 1, 0, 1])
    logits = classifier(inputs=torch.randn(2, 3, 4), lengths=torch.tensor([3, 2]))["logits"]
    assert torch.isinf(logits).nonzero()[:, 1].tolist() == [1, 6, 1, 6]
    assert (logits.softmax(-1)[:, [1, 6]] == 0).all()
    assert "untrained" not in classifier.state_dict()


@pytest.mark.parametrize("random", [False, True])
def test_stored_weights_are_the_trained_ones_and_all_of_a_random_encoder(random: bool) -> None:
    classifier = Classifier(Given(4, random), Head(hidden=5), COUNTS)
    names = {name for name, _ in classifier.named_parameters()}
    assert classifier.saved().keys() == (names if random else names - {"encoder.frozen"})


def test_stored_weights_restore_the_classifier(tmp_path: Path) -> None:
    one, other = (Classifier(Given(4), Head(hidden=5), COUNTS).eval() for _ in range(2))
    inputs = {"inputs": torch.randn(2, 3, 4), "lengths": torch.tensor([3, 2])}
    assert not torch.equal(one(**inputs)["logits"], other(**inputs)["logits"])
    checkpoint.save_weights(one, tmp_path / "weights")
    checkpoint.load_weights(other, tmp_path / "weights")
    assert torch.equal(one(**inputs)["logits"], other(**inputs)["logits"])


@pytest.mark.parametrize("change", ["missing", "unknown", "other shape"])
def test_weights_of_another_model_are_refused(change: str, tmp_path: Path) -> None:
    classifier = Classifier(Given(4), Head(hidden=5), COUNTS)
    weights, name = dict(classifier.saved()), "lora.weight" if change == "unknown" else "fc.bias"
    if change == "missing":
        del weights[name]
    else:
        weights[name] = torch.zeros(1)
    save_file(weights, tmp_path / "weights")
    with pytest.raises(UserError) as caught:
        checkpoint.load_weights(classifier, tmp_path / "weights")
    assert_names(str(caught.value), str(tmp_path / "weights"), name, "train")


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_unreadable_weights_are_reported(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "weights").write_bytes(content)
    with pytest.raises(UserError) as caught:
        checkpoint.load_weights(Classifier(Given(4), Head(hidden=5), COUNTS), tmp_path / "weights")
    assert_names(str(caught.value), str(tmp_path / "weights"))
