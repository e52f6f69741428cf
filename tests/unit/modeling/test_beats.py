"""BEATs: golden numbers, batches, and invalid files."""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.models.t5.modeling_t5 import T5Attention

from abhinaya.modeling.encoders.salmonn import beats, filterbank
from abhinaya.modeling.encoders.salmonn.beats import Beats
from abhinaya.runtime.errors import UserError
from support import golden as golden_numbers
from support.messages import assert_names

GOLDEN = golden_numbers.listing("beats")
ARRAYS = golden_numbers.arrays("beats")
CFG = GOLDEN["config"]
CLIPS = [torch.from_numpy(ARRAYS[f"{clip}_waveform"] / np.float32(2**15)) for clip in "abc"]
PUBLISHED = {  # what matters of BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2
    **CFG,
    "embed_dim": 512,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Checked against their checksums."""
    actual = golden_numbers.weights(GOLDEN["seed"], GOLDEN["weights"])
    return {name: torch.from_numpy(value) for name, value in actual.items()}


@pytest.fixture(scope="module")
def model(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Beats:
    path = tmp_path_factory.mktemp("beats") / "beats.pt"
    torch.save({"cfg": CFG, "model": weights}, path)
    return beats.load(path)


def batch(clips: list[Tensor], padding: float = 0.0) -> tuple[Tensor, Tensor]:
    return pad_sequence(clips, batch_first=True, padding_value=padding), torch.tensor([len(clip) for clip in clips])


def noise(*samples: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [0.1 * torch.randn(count, generator=generator) for count in samples]


# --- golden numbers


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 1, 2]])
def test_golden_filter_bank(chosen: list[int]) -> None:
    """Every fourth frame of the reference, which computed in float64 but with mel filters in float32."""
    features, counts = filterbank.filter_bank(*batch([CLIPS[index] for index in chosen]))
    assert features.dtype == torch.float32
    for row, index in enumerate(chosen):
        expected = ARRAYS[f"{'abc'[index]}_fbank"]
        assert counts[row] == [98, 299, 988][index]
        np.testing.assert_allclose(features[row, : counts[row] : 4], expected, rtol=0, atol=5e-6)
        assert not features[row, counts[row] :].any()


def exact_filter_bank(waveform: np.ndarray) -> np.ndarray:
    """Kaldi's filter bank from its definition, in float64: (samples,) -> (T, 128)."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64) * 2**15, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * np.hanning(400) ** 0.85, 512)) ** 2
    edges = np.linspace(*(1127 * math.log(1 + frequency / 700) for frequency in (20, 8000)), 130)
    mel = 1127 * np.log(1 + np.arange(257) * 16_000 / 512 / 700)
    rising = (mel[:, None] - edges[:-2]) / (edges[1] - edges[0])
    filters = np.minimum(rising, 2 - rising).clip(min=0)
    return (np.log(np.maximum(power @ filters, 2.0**-23)) - 15.41663) / (2 * 6.55582)


@pytest.mark.parametrize("kind", ["a", "b", "c", "tone", "quiet"])
def test_filter_bank_is_exact_to_the_last_digits(kind: str) -> None:
    """In float32 the error is 0.04 for a tone, whose other frequencies have almost no energy, and 2e-5 for clip c."""
    made = {"tone": 0.9 * torch.sin(0.2 * torch.arange(32_000.0)), "quiet": 1e-3 * noise(32_000)[0]}
    clip = made[kind] if kind in made else CLIPS["abc".index(kind)]
    features, _ = filterbank.filter_bank(*batch([clip]))
    np.testing.assert_allclose(features[0], exact_filter_bank(clip.numpy()), rtol=0, atol=2e-7)


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 1, 2]])
def test_golden_features(model: Beats, chosen: list[int]) -> None:
    vectors, lengths = model(*batch([CLIPS[index] for index in chosen]))
    assert vectors.shape[2] == model.width == 64
    for row, index in enumerate(chosen):
        assert lengths[row] == [48, 144, 488][index]
        expected = ARRAYS[f"{'abc'[index]}_beats"]
        np.testing.assert_allclose(vectors[row, : lengths[row]], expected, rtol=0, atol=5e-5)


def test_silence_and_the_empty_filter_have_the_floor_value() -> None:
    floor = (math.log(2**-23) - 15.41663) / (2 * 6.55582)
    silent, _ = filterbank.filter_bank(*batch([torch.zeros(1000)]))
    np.testing.assert_allclose(silent, floor, rtol=1e-6)
    loud, _ = filterbank.filter_bank(*batch(noise(1000)))
    low = np.isclose(loud[0], floor).all(axis=0)
    assert np.flatnonzero(low).tolist() == [3]


def test_position_buckets_are_those_of_t5() -> None:
    """Beyond the longest golden clip and the furthest distance, 800, too."""
    encoder = beats.random(CFG | {"encoder_attention_heads": 1}, 0).encoder
    encoder.layers[0].self_attn.relative_attention_bias.weight.copy_(torch.arange(320.0)[:, None])
    offset = torch.arange(1000) - torch.arange(1000)[:, None]
    expected = T5Attention._relative_position_bucket(offset, bidirectional=True, num_buckets=320, max_distance=800)
    assert torch.equal(encoder._position_bias(1000, torch.device("cpu"))[0].long(), expected)


# --- batches


@pytest.mark.parametrize("padding", [0.0, 0.5, math.nan])
def test_result_does_not_depend_on_the_batch_and_the_padding(model: Beats, padding: float) -> None:
    """Lengths around the borders of a frame (160 samples) and of a patch (2560)."""
    clips = noise(2800, 2959, 5359, 5360, 16000, 30001)
    features, counts = filterbank.filter_bank(*batch(clips, padding))
    vectors, lengths = model(*batch(clips, padding))
    assert counts.tolist() == [16, 16, 31, 32, 98, 186]
    assert lengths.tolist() == [8, 8, 8, 16, 48, 88]
    for row, clip in enumerate(clips):
        alone, _ = filterbank.filter_bank(*batch([clip]))
        np.testing.assert_allclose(features[row, : counts[row]], alone[0], rtol=0, atol=1e-5)
        alone, _ = model(*batch([clip]))
        assert alone.shape[1] == lengths[row]
        np.testing.assert_allclose(vectors[row, : lengths[row]], alone[0], rtol=0, atol=1e-5)


def test_a_clip_below_one_patch_is_reported(model: Beats) -> None:
    with pytest.raises(UserError) as caught:
        model(*batch(noise(16000, 2799)))
    assert_names(str(caught.value), "2799 samples", "2800", "0.175 s")


# --- architecture


def published_shapes() -> dict[str, list[int]]:
    """Names and shapes of the published file."""
    shapes = {
        "patch_embedding.weight": [512, 1, 16, 16],
        "layer_norm.weight": [512],
        "layer_norm.bias": [512],
        "post_extract_proj.weight": [768, 512],
        "post_extract_proj.bias": [768],
        "encoder.pos_conv.0.bias": [768],
        "encoder.pos_conv.0.weight_g": [1, 1, 128],
        "encoder.pos_conv.0.weight_v": [768, 48, 128],
        "encoder.layer_norm.weight": [768],
        "encoder.layer_norm.bias": [768],
        "predictor.weight": [527, 768],
        "predictor.bias": [527],
    }
    layer = {f"self_attn.{part}_proj.weight": [768, 768] for part in "qkv"} | {"self_attn.out_proj.weight": [768, 768]}
    layer |= {"self_attn.grep_linear.weight": [8, 64], "fc1.weight": [3072, 768], "fc2.weight": [768, 3072]}
    layer |= {name.replace("weight", "bias"): shape[:1] for name, shape in layer.items()}
    layer |= {"self_attn.grep_a": [1, 12, 1, 1], "self_attn.relative_attention_bias.weight": [320, 12]}
    for norm in ("self_attn_layer_norm", "final_layer_norm"):
        layer |= {f"{norm}.weight": [768], f"{norm}.bias": [768]}
    return shapes | {f"encoder.layers.{index}.{name}": shape for index in range(12) for name, shape in layer.items()}


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        model = Beats(PUBLISHED)
    expected = published_shapes()
    assert len(expected) == 252
    assert {name: list(weight.shape) for name, weight in model.state_dict().items()} == {
        name: shape for name, shape in expected.items() if name not in beats.UNUSED
    }
    predictor = sum(math.prod(expected[name]) for name in beats.UNUSED)
    assert sum(weight.numel() for weight in model.parameters()) + predictor == 90_717_055


def test_it_is_frozen_and_training_mode_has_no_effect(model: Beats) -> None:
    assert not any(weight.requires_grad for weight in [*model.parameters(), *beats.random(CFG, 1).parameters()])
    vectors, _ = model(*batch(CLIPS[:1]))
    assert vectors.grad_fn is None
    assert torch.equal(model.train()(*batch(CLIPS[:1]))[0], vectors)


def test_half_precision(model: Beats) -> None:
    """Weights in bf16, or autocast; the filter bank stays in fp32."""
    inputs = batch(CLIPS)
    whole, lengths = model(*inputs)
    halved = beats.random(CFG, 0)
    halved.load_state_dict(model.state_dict())
    halved, _ = halved.to(torch.bfloat16)(*inputs)
    features, _ = filterbank.filter_bank(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filterbank.filter_bank(*inputs)[0], features)
        cast, _ = model(*inputs)
    assert halved.dtype == torch.bfloat16
    for other in (halved, cast):
        for row, length in enumerate(lengths):
            pair = whole[row, :length], other[row, :length].float()
            assert torch.nn.functional.cosine_similarity(*pair, dim=-1).min() > 0.99


def test_random_weights_depend_on_the_seed() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, again, other = (beats.random(CFG, seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["encoder.layers.1.fc1.weight"], other["encoder.layers.1.fc1.weight"])
    vectors, _ = beats.random(CFG, 7)(*batch(CLIPS[:1]))
    assert vectors.isfinite().all() and vectors.std(dim=1).min() > 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_norm_first": True}, "`cfg.layer_norm_first`: Input should be False"),
        ({"deep_norm": False}, "`cfg.deep_norm`: Input should be True"),
        ({"deep_norm": ...}, "`cfg.deep_norm`: Field required"),
        ({"gru_rel_pos": False}, "`cfg.gru_rel_pos`: Input should be True"),
        ({"relative_position_embedding": False}, "`cfg.relative_position_embedding`: Input should be True"),
        ({"activation_fn": "glu"}, "`cfg.activation_fn`: Input should be 'gelu'"),
        ({"input_patch_size": 8}, "`cfg.input_patch_size`: Input should be 16"),
        ({"conv_bias": True}, "`cfg.conv_bias`: Input should be False"),
        ({"encoder_layers": 0}, "`cfg.encoder_layers`: Input should be greater than 0"),
        ({"encoder_attention_heads": 5}, "`encoder_attention_heads` must divide `encoder_embed_dim`"),
        ({"conv_pos_groups": 5}, "`conv_pos_groups` must divide `encoder_embed_dim`"),
        ({"max_distance": 80}, "`max_distance` must exceed a quarter of `num_buckets`"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], words: str) -> None:
    cfg = {key: value for key, value in {**CFG, **change}.items() if value is not ...}
    with pytest.raises(UserError) as caught:
        Beats(cfg)
    assert_names(str(caught.value), words)


def test_other_keys_are_ignored() -> None:
    cfg = CFG | {"encoder_layerdrop": 0.5, "dropout": 0.9, "gru_rel_pos": 1, "of_a_later_version": None}
    with torch.device("meta"):
        assert len(Beats(cfg).state_dict()) == len(GOLDEN["weights"]) - len(beats.UNUSED)


# --- files


@pytest.mark.parametrize("zipped", [True, False])
def test_a_loaded_model_has_all_weights_and_the_shared_table(model: Beats, tmp_path: Path, zipped: bool) -> None:
    """Without the predictor, as the checkpoints that are not fine-tuned are."""
    path = tmp_path / "again.pt"
    torch.save({"cfg": CFG, "model": model.state_dict()}, path, _use_new_zipfile_serialization=zipped)
    again = beats.load(path)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    tables = {id(layer.self_attn.relative_attention_bias.weight) for layer in again.encoder.layers}
    assert len(tables) == 1
    assert not any(weight.requires_grad for weight in again.parameters())


def test_weights_in_half_precision_load_as_float32(model: Beats, tmp_path: Path) -> None:
    halved = {name: weight.half() for name, weight in model.state_dict().items()}
    torch.save({"cfg": CFG, "model": halved}, tmp_path / "half.pt")
    assert {weight.dtype for weight in beats.load(tmp_path / "half.pt").parameters()} == {torch.float32}


def test_settings_as_a_namespace_and_names_of_several_gpus_are_read(model: Beats, tmp_path: Path) -> None:
    weights = {f"module.{name}": weight for name, weight in model.state_dict().items()}
    torch.save({"cfg": argparse.Namespace(**CFG), "model": weights}, tmp_path / "beats.pt")
    again = beats.load(tmp_path / "beats.pt").state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        beats.load(path)
    assert_names(str(caught.value), f"{path}: ", *parts)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "file not found")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_reported(weights: dict[str, Tensor], tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "truncated.pt"
    torch.save({"cfg": CFG, "model": weights}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "truncated")


CONTENTS = {
    "text": b"not weights",
    "page": b"<!DOCTYPE html><p>404",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_in_another_format_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "foreign.pt").write_bytes(content)
    refused(tmp_path / "foreign.pt", "not a checkpoint of torch")


def test_a_folder_is_reported(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("content", [[], {}, {"model": {}}, {"cfg": CFG, "model": []}, torch.zeros(3)])
def test_a_checkpoint_of_another_model_is_reported(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "not a BEATs checkpoint")


TABLE = "encoder.layers.1.self_attn.relative_attention_bias.weight"


@pytest.mark.parametrize(
    ("cfg", "change", "words"),
    [
        ({}, {"layer_norm.bias": ...}, "1 weights do not fit the model, e.g. layer_norm.bias (shape missing"),
        ({}, {"layer_norm.bias": "zeros"}, "layer_norm.bias (shape missing, expected [32])"),
        ({}, {"unknown": torch.zeros(2)}, "unknown (shape [2], expected none)"),
        ({}, {"layer_norm.bias": torch.zeros(5)}, "layer_norm.bias (shape [5], expected [32])"),
        ({}, {TABLE: torch.zeros(320, 4)}, "different position tables"),
        ({"encoder_layers": 3}, {}, "20 weights do not fit the model, e.g. encoder.layers.2.fc1.bias"),
        ({"layer_norm_first": True}, {}, "`cfg.layer_norm_first`: Input should be False"),
    ],
)
def test_weights_that_do_not_fit_are_reported(
    cfg: dict[str, Any], change: dict[str, Any], words: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    model = {name: weight for name, weight in {**weights, **change}.items() if weight is not ...}
    torch.save({"cfg": CFG | cfg, "model": model}, tmp_path / "wrong.pt")
    refused(tmp_path / "wrong.pt", words)


def test_input_of_gelu_is_contiguous() -> None:
    """For strided numbers it calls the C library, whose result differs between Linux distributions."""
    for kernel in (3, 4):
        hidden = torch.randn(2, 8, 11, generator=torch.Generator().manual_seed(0)).transpose(0, 1).transpose(0, 1)
        assert beats.PositionalConvolution(8, kernel, 2)(hidden).is_contiguous()
