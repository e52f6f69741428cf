"""Builds a system's model on torch's `meta` device: names and shapes of all weights, without values.

Needs only configuration files and tokenizers and takes seconds. It uses the code that builds the real model, so parts
that do not fit together and invalid settings are found before jobs wait in a queue.
"""

import atexit
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya import config
from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.config.system import (
    RANDOM,
    AudioEncoder,
    SalmonnEncoder,
    SpeechEncoder,
    SpeechSystem,
    TextEncoder,
    TextSystem,
    TrainedSystem,
)
from abhinaya.config.zero_shot import SalmonnZeroShot
from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders import speech, text
from abhinaya.modeling.encoders.salmonn import beats, pretrained_weights
from abhinaya.modeling.encoders.salmonn.prompt import Prompt
from abhinaya.modeling.encoders.salmonn.speech_llm import SpeechLlm
from abhinaya.pretrained import ctranslate2
from abhinaya.pretrained.gguf import gguf_file
from abhinaya.pretrained.hub import is_local, locate
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

META = torch.device("meta")


def classifier(settings: TrainedSystem, features: Path | None = None) -> Classifier:
    """The classifier of a system on the meta device.

    Args:
        features: a shard of cached features; Whisper and BEATs are then not checked.

    Raises:
        UserError: a part is of the wrong kind or incomplete, or does not fit the others.
    """
    encoder = settings.encoder
    with _no_warnings():
        if isinstance(settings, SpeechSystem):
            module = _speech(encoder)
        elif isinstance(settings, TextSystem):
            module = _text(encoder)
            text.Transcripts(encoder, _tokenizer(encoder.model, encoder.revision), module.model)
        else:
            module = salmonn(encoder, features)
        with META:
            model = Classifier(module, settings.head, [1] * len(CLASSES))
        checkpoint.load_head(model, getattr(module, "head", {}), settings)
    return model


def zero_shot(settings: SalmonnZeroShot, features: Path | None = None) -> SpeechLlm:
    """The speech LLM of a zero-shot system on the meta device.

    Raises:
        UserError: as `classifier`; its checkpoint is that of a classifier.
    """
    with _no_warnings():
        model = salmonn(settings.encoder, features)
    if model.head:
        raise UserError(
            f"{settings.encoder.checkpoint}: fine-tuned as a classifier, so it cannot generate text; use SALMONN's "
            "own checkpoint"
        )
    return model


def feature_widths(settings: FeatureSettings) -> dict[str, int]:
    """Numbers in a cached vector, by stream.

    Raises:
        UserError: a part is of another kind, lacks a file, or is cut off.
    """
    if isinstance(settings, SalmonnFeatures):
        return widths(settings.encoder)
    with _no_warnings():
        build = _text if isinstance(settings, TextFeatures) else _speech
        return {"vectors": build(settings.encoder).width}


def widths(audio_encoder: AudioEncoder) -> dict[str, int]:
    """Of Whisper's vectors (`speech`) and BEATs' (`audio`).

    Raises:
        UserError: a part is of the wrong kind or truncated.
    """
    return _widths(audio_encoder.model_dump_json())


@cache
def _widths(settings: str) -> dict[str, int]:
    audio_encoder = config.parse(AudioEncoder, settings)
    whisper = SpeechEncoder(
        model=audio_encoder.whisper,
        revision=audio_encoder.revision,
        freeze="all",
        layer=audio_encoder.layer,
        window=audio_encoder.window,
        max_seconds=audio_encoder.max_seconds,
        min_seconds=audio_encoder.min_seconds,
    )
    with _no_warnings():
        encoder = _speech(whisper)
        if not isinstance(encoder, speech.WhisperSpeechEncoder):
            raise UserError(
                f"encoder {audio_encoder.whisper!r}: not a Whisper model; use one for `audio_encoder.whisper`"
            )
        if audio_encoder.beats.startswith(RANDOM):
            with META:
                audio = beats.Beats(audio_encoder.beats_config)
        else:
            audio = beats.load(audio_encoder.beats)
    return {"speech": encoder.width, "audio": audio.width}


def salmonn(settings: SalmonnEncoder, features: Path | None) -> SpeechLlm:
    """SALMONN without its audio encoders, checked against its checkpoint."""
    feature_widths = files.read_metadata(features)["widths"] if features else widths(settings.audio_encoder)
    language_model = TextEncoder(
        model=settings.language_model, revision=settings.revision, layer=settings.layer, lora=settings.lora
    )
    Prompt(_tokenizer(language_model.model, language_model.revision))
    with META:
        encoder = SpeechLlm(None, feature_widths, _text(language_model), [], settings)
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        _, encoder.head = pretrained_weights.load(settings.checkpoint, trained)
    return encoder


def chat(name: str, revision: str | None) -> None:
    """Raise a `UserError` unless the model's tokenizer has a chat template."""
    with _no_warnings():
        tokenizer = _tokenizer(name, revision)
    if tokenizer.chat_template is None:
        raise UserError(f"model {name!r}: its tokenizer has no chat template; use a chat model")


def _speech(settings: SpeechEncoder) -> nn.Module:
    if settings.model.startswith(RANDOM):
        with META:
            return speech.wrap(speech.draw(settings, seed=0), settings, normalise=False)[1]
    place, revision = locate(settings.model), settings.revision or "main"
    if ctranslate2.is_ctranslate2(place):
        with META:
            model = WhisperEncoder(ctranslate2.architecture(place))
    else:
        with _loadable(settings.model, "its configuration and preprocessor"):
            AutoFeatureExtractor.from_pretrained(place, revision=revision)
            with META:
                model = AutoModel.from_config(AutoConfig.from_pretrained(place, revision=revision))
    with META:
        return speech.wrap(model, settings, normalise=False)[1]


def _text(settings: TextEncoder) -> text.TextModule:
    place = _place(settings.model)
    with _loadable(settings.model, "its configuration"):
        architecture = text.architecture(settings, place, settings.revision or "main")
        with META:
            model = AutoModel.from_config(architecture)
    model.requires_grad_(settings.freeze == "none")
    if settings.freeze == "base":
        with META:
            model = text.adapted(model, settings, seed=0)
    return text.TextModule(model, architecture.get_text_config().hidden_size, frozen=settings.freeze == "all")


@cache
def _tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    place = _place(name)
    with _loadable(name, "its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision or "main")
    pieces = set(tokenizer("some words", add_special_tokens=False)["input_ids"])
    if not pieces - {tokenizer.unk_token_id}:  # transformers creates one even if files are missing
        raise UserError(f"model {name!r}: its tokenizer has no vocabulary; download the tokenizer's files, too")
    return tokenizer


def _place(name: str) -> str:
    """The folder of a model's configuration and tokenizer."""
    place = locate(name)
    return _unpacked(place, gguf_file(place)) if is_local(name) and gguf_file(place) else place


@cache
def _unpacked(folder: str, file: str) -> str:
    """A temporary folder with the configuration and tokenizer of a GGUF file."""
    target = tempfile.TemporaryDirectory(prefix="preflight-")
    atexit.register(target.cleanup)
    with _loadable(f"{folder}/{file}", "it"):
        AutoConfig.from_pretrained(folder, gguf_file=file).save_pretrained(target.name)
        AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(target.name)
    return target.name


@contextmanager
def _loadable(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"model {name!r}: {what} cannot be loaded ({reason}); download the model again") from None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Suppress the warnings about loading weights on the meta device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
