"""SALMONN's speech tokens: golden numbers, batches, and windows after a clip's end."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from abhinaya.modeling.encoders.salmonn import pretrained_weights
from abhinaya.modeling.encoders.salmonn.qformer import SpeechTokens, covered
from abhinaya.runtime.errors import UserError
from support import golden
from support.messages import assert_names

torch.set_num_threads(1)

FACTS = golden.listing("salmonn")
ARRAYS = {name: torch.from_numpy(value) for name, value in golden.arrays("salmonn").items()}
CLIPS = ("a", "b")
SPEECH = torch.stack([ARRAYS[f"whisper_{clip}"] for clip in CLIPS])
BEATS = [ARRAYS[f"beats_{clip}"] for clip in CLIPS]
LENGTHS = torch.tensor([len(audio) for audio in BEATS])
AUDIO = pad_sequence(BEATS, batch_first=True, padding_value=9.0)


@pytest.fixture(scope="module")
def tokens() -> SpeechTokens:
    made = SpeechTokens(speech_width=64, audio_width=64, width=128).eval()
    expected = {f"speech.{name}": value for name, value in made.state_dict().items()}
    theirs = {
        name: torch.from_numpy(value)
        for name, value in golden.weights(FACTS["seed"], FACTS["weights"]).items()
        if not name.startswith("llama_model.")
    }
    weights, _ = pretrained_weights.adopt(theirs, expected, "golden")
    made.load_state_dict({name.removeprefix("speech."): value for name, value in weights.items()})
    return made


@torch.inference_mode()
def test_golden_tokens_alone_and_in_a_batch(tokens: SpeechTokens) -> None:
    """The shorter clip is padded with arbitrary values to the length of the longer one."""
    together, lengths = tokens(SPEECH, AUDIO, LENGTHS)
    assert lengths.tolist() == [88, 88]
    for row, clip in enumerate(CLIPS):
        alone, _ = tokens(SPEECH[row : row + 1], BEATS[row][None], LENGTHS[row : row + 1])
        np.testing.assert_allclose(alone[0], ARRAYS[f"tokens_{clip}"], atol=1e-4)
        np.testing.assert_allclose(together[row], ARRAYS[f"tokens_{clip}"], atol=1e-4)


@torch.inference_mode()
def test_windows_of_a_clip_are_the_first_of_all_windows(tokens: SpeechTokens) -> None:
    own = torch.tensor([covered(16000), covered(48112)])
    assert own.tolist() == [3, 9]
    actual, lengths = tokens(SPEECH, AUDIO, LENGTHS, own)
    assert actual.shape == (2, 9, 128) and torch.equal(lengths, own)
    shorter, _ = tokens(SPEECH[:, : 9 * 17], AUDIO, LENGTHS, own)  # no more was stored
    for row, clip in enumerate(CLIPS):
        np.testing.assert_allclose(actual[row, : own[row]], ARRAYS[f"tokens_{clip}"][: own[row]], atol=1e-4)
        np.testing.assert_allclose(shorter[row], actual[row], atol=1e-5)
    alone, _ = tokens(SPEECH[:1], AUDIO[:1], LENGTHS[:1], own[:1])  # fewer windows than the clip's own features span
    np.testing.assert_allclose(alone[0], actual[0, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(1, 1), (16000, 3), (17 * 320, 1), (17 * 320 + 1, 2), (160000, 30), (480000, 88), (10**6, 88)],
)
def test_number_of_windows_of_a_clip(samples: int, windows: int) -> None:
    assert covered(samples) == windows


def test_every_weight_is_trained(tokens: SpeechTokens) -> None:
    """Training on several GPUs requires a gradient for each weight."""
    actual, _ = tokens(SPEECH[:1], AUDIO[:1], LENGTHS[:1], torch.tensor([3]))
    actual.square().sum().backward()
    for name, weight in tokens.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
    assert tokens.query_tokens.grad.abs().max() > 0 and tokens.ln_audio.bias.grad.abs().max() > 0


@torch.inference_mode()
def test_stored_features_may_be_half_precision(tokens: SpeechTokens) -> None:
    speech, audio = SPEECH[:1].half(), AUDIO[:1].half()
    actual, _ = tokens(speech, audio, LENGTHS[:1], torch.tensor([3]))
    expected, _ = tokens(speech.float(), audio.float(), LENGTHS[:1], torch.tensor([3]))
    assert actual.dtype == torch.float32 and torch.equal(actual, expected)


def test_a_smaller_architecture() -> None:
    small = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "num_hidden_layers": 1}
    made = SpeechTokens(64, 64, 128, small)
    actual, _ = made(SPEECH, AUDIO, LENGTHS)
    assert actual.shape == (2, 88, 128)
    assert made.query_tokens.shape == (1, 1, 32)
    assert len(made.qformer.encoder.layer) == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"hiden_size": 32}, ("hiden_size", "did you mean hidden_size?")),
        ({"hidden_size": 30, "num_attention_heads": 4}, ("not a multiple",)),
        ({"num_attention_heads": 0}, ("zero",)),
        ({"hidden_size": "wide"}, ("hidden_size", "expected int")),
        ({"hidden_size": -12}, ("negative dimension",)),
        ({"hidden_act": "none_such"}, ("none_such",)),
        ({"encoder_hidden_size": 7}, ("encoder_hidden_size", "remove it")),
    ],
)
def test_an_invalid_architecture_is_reported(keys: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        SpeechTokens(64, 64, 128, keys)
    assert_names(str(caught.value), "encoder.qformer: ", *words)
