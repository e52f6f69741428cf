"""Speech encoders: vectors equal those of transformers and do not depend on the batch; trained parts; crops."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from abhinaya.config.system import SpeechEncoder
from abhinaya.data.dataset import collate
from abhinaya.modeling.encoders import speech
from abhinaya.modeling.encoders.speech import ConvolutionalEncoder, MelLoader, WaveformLoader, WhisperSpeechEncoder
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech_corpus import RATE, WAVLM, WHISPER

CONVOLUTIONAL = [
    (kind, norm, stable)
    for kind in ("wavlm", "hubert", "wav2vec2")
    for norm, stable in (("layer", True), ("layer", False), ("group", False))
]
SECONDS = (0.7, 1.0, 0.31, 1.37)


def settings(model: str = "random:wavlm", **keys: object) -> SpeechEncoder:
    if model.startswith("random:"):
        keys["config"] = (WHISPER if model == "random:whisper" else WAVLM) | keys.get("config", {})
    return SpeechEncoder(model=model, **{"min_seconds": 0.25} | keys)


def convolutional(kind: str, norm: str, stable: bool, **keys: object) -> ConvolutionalEncoder:
    config = {"feat_extract_norm": norm, "do_stable_layer_norm": stable}
    return speech.build(settings(f"random:{kind}", config=config, **keys), seed=1)[1]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Manifest rows of four clips of different length."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for index, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"{index}.wav", noise(seconds, index), RATE, subtype="FLOAT")
        rows.append({"path": str(folder / f"{index}.wav"), "duration": seconds})
    return rows


def batch(loader: WaveformLoader, rows: list[dict]) -> dict[str, Tensor]:
    """The encoder's inputs for `rows`."""
    made = collate([{**loader.load(row, None), "labels": 0} for row in rows])
    made.pop("labels")
    return made


def assert_batch_has_no_effect(loader: WaveformLoader, encoder: torch.nn.Module, rows: list[dict]) -> None:
    encoder.eval()
    with torch.inference_mode():
        alone = [encoder(**batch(loader, [row])) for row in rows]
        for order in ([0, 1, 2, 3], [3, 0], [2, 1]):
            vectors, lengths = encoder(**batch(loader, [rows[index] for index in order]))
            for clip, length, index in zip(vectors, lengths, order, strict=True):
                expected, own_length = alone[index]
                assert length == own_length[0] == expected.shape[1]
                torch.testing.assert_close(clip[:length], expected[0], rtol=1e-5, atol=1e-5)


# --- vectors do not depend on the batch, and are those of transformers


@pytest.mark.parametrize(("kind", "norm", "stable"), CONVOLUTIONAL)
def test_convolutional_vectors_do_not_depend_on_the_batch(
    kind: str, norm: str, stable: bool, clips: list[dict]
) -> None:
    assert_batch_has_no_effect(WaveformLoader(settings()), convolutional(kind, norm, stable), clips)


@pytest.mark.parametrize("window", ["clip", "full"])
def test_whisper_vectors_do_not_depend_on_the_batch(window: str, clips: list[dict]) -> None:
    loader, encoder = speech.build(settings("random:whisper", window=window), seed=1)
    assert_batch_has_no_effect(loader, encoder, clips)


@pytest.mark.parametrize(("kind", "norm", "stable"), CONVOLUTIONAL)
@torch.inference_mode()
def test_convolutional_vectors_are_those_of_transformers(kind: str, norm: str, stable: bool) -> None:
    encoder = convolutional(kind, norm, stable).eval()
    waveform = torch.from_numpy(noise(0.9))[None]
    vectors, lengths = encoder(inputs=waveform, lengths=torch.tensor([waveform.shape[1]]))
    theirs = type(encoder.model)(encoder.model.config).eval()  # without our attention
    theirs.load_state_dict(encoder.model.state_dict())
    expected = theirs(waveform).last_hidden_state
    assert lengths.tolist() == [expected.shape[1]]
    torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_whisper_vectors_of_the_full_window_are_those_of_transformers(clips: list[dict]) -> None:
    loader, encoder = speech.build(settings("random:whisper", window="full"), seed=1)
    encoder.eval()
    inputs = batch(loader, clips[:1])
    mels = WhisperFeatureExtractor()(noise(SECONDS[0]), sampling_rate=RATE, return_tensors="pt").input_features
    torch.testing.assert_close(inputs["inputs"].transpose(1, 2), mels)
    vectors, lengths = encoder(**inputs)
    assert lengths.tolist() == [1500]
    torch.testing.assert_close(vectors, encoder.model(mels).last_hidden_state, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_whisper_has_50_vectors_per_second(clips: list[dict]) -> None:
    loader, encoder = speech.build(settings("random:whisper"), seed=1)
    vectors, lengths = encoder(**batch(loader, clips))
    assert lengths.tolist() == [round(50 * seconds + 0.49) for seconds in SECONDS]
    assert vectors.shape == (4, int(lengths.max()), encoder.width)


# --- trained parts


@pytest.mark.parametrize("model", ["random:wavlm", "random:hubert", "random:wav2vec2", "random:whisper"])
def test_convolutions_are_frozen_and_layers_train(model: str, clips: list[dict]) -> None:
    loader, encoder = speech.build(settings(model), seed=1)
    encoder.train()
    encoder(**batch(loader, clips))[0].square().sum().backward()
    touched = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    convolutions = {
        name
        for name, _ in encoder.named_parameters()
        if name.startswith(("model.feature_extractor.", "model.conv1.", "model.conv2."))
    }
    assert convolutions
    assert touched.isdisjoint(convolutions)
    assert any(name.startswith(("model.encoder.layers.0.", "model.layers.0.")) for name in touched)
    assert not any(parameter.requires_grad for name, parameter in encoder.named_parameters() if name in convolutions)


@pytest.mark.parametrize("model", ["random:wavlm", "random:hubert", "random:wav2vec2", "random:whisper"])
def test_a_frozen_encoder_has_no_gradient_and_no_randomness(model: str, clips: list[dict]) -> None:
    rates = {"dropout": 0.5} if model == "random:whisper" else {"layerdrop": 0.5, "mask_time_prob": 0.5}
    loader, encoder = speech.build(settings(model, freeze="all", config=rates), seed=1)
    encoder.train()
    inputs = batch(loader, clips)
    first, second = encoder(**inputs)[0], encoder(**inputs)[0]
    assert not first.requires_grad
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("model", ["random:wavlm", "random:whisper"])
@torch.inference_mode()
def test_layer_removes_the_layers_above(model: str, clips: list[dict]) -> None:
    loader, whole = speech.build(settings(model), seed=1)
    _, cut = speech.build(settings(model, layer=1), seed=1)
    layers = {
        name.split("layers.")[1][0] for name, _ in cut.named_parameters() if "layers." in name and "conv" not in name
    }
    assert layers == {"0"}
    inputs = batch(loader, clips[:1])
    whole.eval(), cut.eval()
    assert not torch.allclose(whole(**inputs)[0], cut(**inputs)[0], atol=1e-3)
    _, uncut = speech.build(settings(model, layer=2), seed=1)
    torch.testing.assert_close(uncut.eval()(**inputs)[0], whole(**inputs)[0], rtol=0, atol=0)


def test_random_weights_come_from_the_seed() -> None:
    first, same, other = (speech.build(settings(), seed)[1].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_gradient_checkpointing_gives_the_same_gradients(clips: list[dict]) -> None:
    for model in ("random:wavlm", "random:whisper"):
        gradients = []
        for checkpointing in (False, True):
            loader, encoder = speech.build(
                settings(model, config={"layerdrop": 0.0, "mask_time_prob": 0.0} if model == "random:wavlm" else {}),
                seed=1,
            )
            if checkpointing:
                encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
            encoder.train()
            torch.manual_seed(0)
            encoder(**batch(loader, clips))[0].square().sum().backward()
            gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name in gradients[0]:
            torch.testing.assert_close(gradients[1][name], gradients[0][name], rtol=1e-4, atol=1e-5)


# --- loading clips


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A clip of 2 s whose samples are their own indices."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.wav"
    soundfile.write(path, np.arange(2 * RATE) / 2**15, RATE, subtype="FLOAT")
    return {"path": str(path), "duration": 2.0, "EmoClass": "A"}


def starts_at(tensors: dict[str, Tensor]) -> int:
    samples = tensors["inputs"] * 2**15
    assert (samples.diff() == 1).all()
    return int(samples[0])


def test_crops_to_the_middle_and_at_random(ramp: dict) -> None:
    loader = WaveformLoader(settings(max_seconds=0.5))
    middle = loader.load(ramp, None)
    assert middle["inputs"].shape == (RATE // 2,)
    assert starts_at(middle) == (2 * RATE - RATE // 2) // 2
    starts = [starts_at(loader.load(ramp, np.random.default_rng(seed))) for seed in range(200)]
    assert min(starts) < 1500 and max(starts) > 1.5 * RATE - 1500
    assert len(set(starts)) > 150
    assert loader.size(ramp) == RATE // 2


def test_short_clips_are_padded_with_silence(clips: list[dict]) -> None:
    loader = WaveformLoader(settings(min_seconds=1.0))
    inputs = loader.load(clips[0], None)["inputs"]
    assert inputs.shape == (RATE,)
    np.testing.assert_array_equal(inputs[: round(0.7 * RATE)], noise(0.7))
    assert (inputs[round(0.7 * RATE) :] == 0).all()
    assert loader.size(clips[0]) == RATE


@pytest.mark.parametrize("model", ["random:wavlm", "random:whisper"])
def test_48_khz_stereo(model: str, tmp_path: Path) -> None:
    time = np.arange(48_000) / 48_000
    tone = 0.3 * np.sin(2 * np.pi * 300 * time)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, tone], axis=1), 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", tone[::3], RATE, subtype="FLOAT")
    loader, _ = speech.build(settings(model), seed=1)
    stereo, mono = (loader.load({"path": str(tmp_path / f"{name}.wav")}, None)["inputs"] for name in ("stereo", "mono"))
    assert stereo.shape == mono.shape
    inner = slice(1000, -1000) if model == "random:wavlm" else slice(10, -10)
    loudest = slice(None) if model == "random:wavlm" else slice(3, 12)  # mel bands around 300 Hz
    torch.testing.assert_close(stereo[inner][..., loudest], mono[inner][..., loudest], rtol=0, atol=0.01)


@pytest.mark.parametrize("samples", [320, 321, 479, 16_000])
def test_mel_frames_cover_the_clip_in_pairs(samples: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(samples / RATE), RATE)
    loader = MelLoader(settings("random:whisper", min_seconds=0.01), WhisperConfig())
    frames = loader.load({"path": str(tmp_path / "a.wav")}, None)["inputs"]
    assert frames.shape == (-(-samples // 320) * 2, 80)


# --- invalid settings


def refused(options: SpeechEncoder, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        speech.build(options, seed=1)
    assert_names(str(caught.value), repr(options.model), *parts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (settings("random:wavlm", layer=3), "`layer` is 3, but the model has 2"),
        (settings("random:whisper", layer=3), "`layer` is 3, but the model has 2"),
        (settings("random:whisper", max_seconds=31.0), "at most 30 s"),
        (settings("random:whisper", config={"max_source_positions": 100}, max_seconds=2.1), "at most 2 s"),
        (settings("random:wavlm", config={"num_attention_heads": 5}), "`config`"),
        (settings("random:wavlm", config={"hidden_sise": 32}), "hidden_size"),
        (settings("random:wavlm", config={"hidden_size": "wide"}), "`config`"),
        (settings("random:wavlm", min_seconds=0.02), "`min_seconds`"),
        (settings("random:wavlm", min_seconds=0.2), "`min_seconds`"),  # below one mask of SpecAugment
        (settings("./nowhere"), "folder not found"),
        (settings("not a name!"), "cannot be loaded"),
        (settings("package:nothing_of_that_name/model"), "not found; install it"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(options: SpeechEncoder, words: str) -> None:
    refused(options, words)


def test_shorter_clips_are_possible_without_masks() -> None:
    options = settings("random:wavlm", min_seconds=0.1, config={"apply_spec_augment": False})
    _, encoder = speech.build(options, seed=1)
    vectors, _ = encoder.train()(torch.zeros(1, 1600), torch.tensor([1600]))
    assert vectors.shape == (1, 4, 16)


# --- a local folder


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT, written by save_pretrained."""
    folder = tmp_path_factory.mktemp("models") / "hubert"
    torch.manual_seed(3)
    HubertModel(HubertConfig(**WAVLM)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_a_local_folder_is_loaded(hubert: Path, clips: list[dict]) -> None:
    loader, encoder = speech.build(settings(str(hubert)), seed=1)
    assert encoder.random_parts == ()
    inputs = batch(loader, clips[:1])
    expected = AutoModel.from_pretrained(hubert).eval()(inputs["inputs"]).last_hidden_state
    torch.testing.assert_close(encoder.eval()(**inputs)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_preprocessor_determines_the_normalisation(normalise: bool, hubert: Path, clips: list[dict]) -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalise)
    extractor.save_pretrained(hubert)
    loader, _ = speech.build(settings(str(hubert), min_seconds=1.0), seed=1)
    inputs = loader.load(clips[0], None)["inputs"]
    expected = extractor(noise(SECONDS[0]), sampling_rate=RATE).input_values[0]
    np.testing.assert_allclose(inputs[: len(expected)], expected, atol=1e-5)
    assert (inputs[len(expected) :] == 0).all()  # silence is added after normalising, as transformers does


@torch.inference_mode()
def test_a_local_whisper_is_loaded(tmp_path: Path, clips: list[dict]) -> None:
    torch.manual_seed(3)
    model = WhisperModel(WhisperConfig(**WHISPER))
    model.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    loader, encoder = speech.build(settings(str(tmp_path), window="full"), seed=1)
    assert isinstance(encoder, WhisperSpeechEncoder)
    assert not encoder.model.embed_positions.weight.requires_grad
    inputs = batch(loader, clips[:1])
    expected = model.eval().encoder(inputs["inputs"].transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(encoder.eval()(**inputs)[0], expected, rtol=1e-5, atol=1e-5)


def test_damaged_folders_are_reported_in_one_line(hubert: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in hubert.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = (hubert / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(settings(str(damaged)), "cannot be loaded")
    (damaged / "model.safetensors").unlink()
    refused(settings(str(damaged)), "cannot be loaded")
    (damaged / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    refused(settings(str(damaged)), "cannot be loaded")
    (damaged / "config.json").write_text("{")
    refused(settings(str(damaged)), "cannot be loaded")


@pytest.mark.parametrize("lost", ["encoder.layers.1.attention.q_proj.weight", "feature_projection.projection.weight"])
def test_missing_weights_are_not_initialised_randomly(lost: str, hubert: Path, tmp_path: Path) -> None:
    shutil.copytree(hubert, tmp_path / "incomplete")
    weights = load_file(hubert / "model.safetensors")
    del weights[lost]
    save_file(weights, tmp_path / "incomplete/model.safetensors", metadata={"format": "pt"})
    refused(settings(str(tmp_path / "incomplete")), "1 weights are missing", lost)


def test_a_folder_without_the_mask_embedding_is_loaded(hubert: Path, tmp_path: Path) -> None:
    """As in some published checkpoints: only SpecAugment uses it, and it is trained."""
    shutil.copytree(hubert, tmp_path / "plain")
    weights = load_file(hubert / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, tmp_path / "plain/model.safetensors", metadata={"format": "pt"})
    speech.build(settings(str(tmp_path / "plain")), seed=1)


def test_a_folder_with_only_the_encoder_of_whisper_is_loaded(tmp_path: Path) -> None:
    """The decoder is not used."""
    model = WhisperModel(WhisperConfig(**WHISPER))
    model.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "encoder." in name and "decoder." not in name}
    assert 0 < len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    _, encoder = speech.build(settings(str(tmp_path)), seed=1)
    torch.testing.assert_close(encoder.model.conv1.weight, model.encoder.conv1.weight)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_published_checkpoint_is_complete(file: str, tmp_path: Path) -> None:
    """A model with a task head, its weight norm with the names of older torch: no weights are missing."""
    model = WavLMForCTC(WavLMConfig(**WAVLM, vocab_size=32))
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    norm = "wavlm.encoder.pos_conv_embed.conv."
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        weights[norm + old] = weights.pop(f"{norm}parametrizations.weight.{new}")
    (tmp_path / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(weights, tmp_path / file)
    else:
        save_file(weights, tmp_path / file, metadata={"format": "pt"})
    _, encoder = speech.build(settings(str(tmp_path)), seed=1)
    published = dict(model.wavlm.named_parameters())
    for name, value in encoder.model.named_parameters():
        torch.testing.assert_close(value, published[name], rtol=0, atol=0)


@pytest.mark.parametrize("model", ["random:wavlm", "random:whisper"])
def test_levels_follow_the_loudness_and_not_the_batch(model: str, tmp_path: Path) -> None:
    """Half a second of noise, then the same 20 dB lower, then 60 dB lower; beside a longer clip."""
    waveform = np.concatenate([noise(0.5), 0.1 * noise(0.5), 0.001 * noise(0.5)])
    rows = []
    for name, samples in (("steps", waveform), ("long", noise(2.5))):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        rows.append({"path": str(tmp_path / f"{name}.wav"), "duration": len(samples) / RATE})
    loader, encoder = speech.build(settings(model, levels=True), seed=1)
    _, plain = speech.build(settings(model), seed=1)
    assert encoder.width == plain.width + 1
    with torch.inference_mode():
        alone, (count,) = encoder.eval()(**batch(loader, rows[:1]))
        together, _ = encoder(**batch(loader, rows))
        vectors, _ = plain.eval()(**batch(loader, rows[:1]))
    torch.testing.assert_close(alone[0, :, :-1], vectors[0])
    levels = alone[0, :count, -1]
    torch.testing.assert_close(together[0, :count, -1], levels, atol=1e-3, rtol=0)
    assert levels.max() == 0
    for part, expected in ((slice(3, 20), 0), (slice(28, 45), -20), (slice(53, 70), -60)):
        assert levels[part].median().item() == pytest.approx(expected, abs=3)
