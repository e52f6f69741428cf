"""WavLM's fused attention: outputs and gradients are those of transformers; invariances; names of the weights."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention, WavLMEncoder, WavLMEncoderStableLayerNorm

from abhinaya.modeling.encoders import wavlm_attention
from support.speech_corpus import NOT_RANDOM

FRAMES = 23
LENGTHS = {"without a mask": None, "equal lengths": [FRAMES] * 3, "padding": [FRAMES, 9, 1]}
Measured = tuple[Tensor, dict[str, Tensor]]


def transformer(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    config = WavLMConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=48,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        **NOT_RANDOM,
    )
    return kind(config)


def is_real(lengths: list[int] | None) -> Tensor | None:
    """The mask (B, T) of the frames that are not padding."""
    return None if lengths is None else torch.arange(FRAMES) < torch.tensor(lengths)[:, None]


def measure(model: nn.Module, inputs: Tensor, mask: Tensor | None) -> Measured:
    """Vectors (zero in padding), and the gradients of the weights and the inputs."""
    inputs = inputs.clone().requires_grad_()
    with warnings.catch_warnings():  # the attention of transformers mixes kinds of masks, and torch warns about it
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
        # `+ 0`: WavLM's transformer sets the padding in its input to zero in place
        output = model(inputs + 0, attention_mask=mask)
    vectors = output[0] if isinstance(output, tuple) else output.last_hidden_state
    if mask is not None:
        vectors = vectors * mask[..., None]
    targets = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    (vectors * targets).sum().backward()
    return vectors.detach(), {"inputs": inputs.grad} | {
        name: parameter.grad for name, parameter in model.named_parameters()
    }


def assert_same(found: Measured, expected: Measured) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(found[1][name] / scale, gradient / scale, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", [WavLMEncoder, WavLMEncoderStableLayerNorm])
@pytest.mark.parametrize("training", [True, False])
def test_vectors_and_gradients_are_those_of_transformers(
    training: bool, kind: type[nn.Module], lengths: list[int] | None
) -> None:
    theirs = transformer(kind).train(training)
    ours = copy.deepcopy(theirs)
    wavlm_attention.fuse(ours)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    inputs = torch.randn(3, FRAMES, 32)
    assert_same(measure(ours, inputs, is_real(lengths)), measure(theirs, inputs, is_real(lengths)))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_one_layer_with_the_shapes_of_wavlm_large(lengths: list[int] | None) -> None:
    torch.manual_seed(1)
    theirs = WavLMAttention(1024, 16)
    theirs.gru_rel_pos_const.data.normal_()
    ours = copy.deepcopy(theirs)
    wavlm_attention.fuse(ours)
    inputs = torch.randn(3, FRAMES, 1024)
    assert_same(measure(ours, inputs, is_real(lengths)), measure(theirs, inputs, is_real(lengths)))


def test_no_attention_weights_are_returned() -> None:
    model = transformer(WavLMEncoder)
    wavlm_attention.fuse(model)
    _, weights, bias = model.layers[0].attention(torch.randn(2, FRAMES, 32))
    assert weights is None
    assert bias.shape == (4, FRAMES, FRAMES)  # one for all clips


def test_dropout_affects_the_attention_in_training_only() -> None:
    torch.manual_seed(1)
    model = WavLMAttention(32, 4, dropout=0.5)
    wavlm_attention.fuse(model)
    inputs = torch.randn(2, FRAMES, 32)
    assert not model(inputs)[0].equal(model(inputs)[0])
    model.eval()
    assert model(inputs)[0].equal(model(inputs)[0])


def test_the_bias_has_the_type_of_the_query_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bias is the largest tensor of a layer; in float32 it would take twice the memory."""
    layer = WavLMAttention(32, 4)
    wavlm_attention.fuse(layer)
    given = []

    def attend(query: Tensor, *inputs: Tensor, attn_mask: Tensor, dropout_p: float) -> Tensor:
        given.append((query.dtype, attn_mask.dtype))
        return scaled_dot_product_attention(query, *inputs, attn_mask=attn_mask, dropout_p=dropout_p)

    monkeypatch.setattr(wavlm_attention, "scaled_dot_product_attention", attend)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(3, FRAMES, 32), is_real(LENGTHS["padding"]))
    assert given == [(torch.bfloat16, torch.bfloat16)]
