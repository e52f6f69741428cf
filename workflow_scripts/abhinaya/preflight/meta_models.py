"""Builds a system's model on torch's `meta` device: names and shapes of all weights, without values.

Needs only configuration files and tokenizers and takes seconds. Only the loading of pretrained weights is replaced: the
rest is the code that builds the real model, so it finds invalid settings and parts that do not fit together.
"""

import atexit
import tempfile
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from warnings import catch_warnings

import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya.config.features import FeatureSettings, SalmonnFeatures, TextFeatures
from abhinaya.config.system import (
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
from abhinaya.modeling import checkpoint, probe
from abhinaya.modeling.classifier import PooledClassifier
from abhinaya.modeling.encoders import speech, text
from abhinaya.modeling.encoders.salmonn import beats, pretrained_weights
from abhinaya.modeling.encoders.salmonn.prompt import Prompt
from abhinaya.modeling.encoders.salmonn.speech_llm import SpeechLlm
from abhinaya.pretrained import ctranslate2
from abhinaya.pretrained.gguf import gguf_file
from abhinaya.pretrained.hub import is_local, locate
from abhinaya.pretrained.loading import loading
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

META = torch.device("meta")


def classifier(settings: TrainedSystem, features: Path | None = None) -> PooledClassifier:
    """The classifier of a system on the meta device.

    Args:
        features: a shard of cached features; Whisper and BEATs are then not checked.

    Raises:
        UserError: a part is of the wrong kind or incomplete, or does not fit the others.
    """
    encoder = settings.encoder
    with catch_warnings(action="ignore"):
        if isinstance(settings, SpeechSystem):
            module = _speech(encoder)
        elif isinstance(settings, TextSystem):
            module = _text(encoder)
            text.Transcripts(encoder, _tokenizer(encoder.model, encoder.revision), module.model)
        else:
            module = _speech_llm(encoder, features)
        with META:
            model = probe.build(module, settings.head, [1] * len(CLASSES))
        checkpoint.load_head(model, getattr(module, "head", {}), settings)
    return model


def zero_shot(settings: SalmonnZeroShot, features: Path | None = None) -> None:
    """Check the parts of a zero-shot speech LLM.

    Raises:
        UserError: as `classifier`; its checkpoint is that of a classifier.
    """
    with catch_warnings(action="ignore"):
        model = _speech_llm(settings.encoder, features)
    if model.head:
        raise UserError(
            f"{settings.encoder.checkpoint}: fine-tuned as a classifier, so it cannot generate text; use SALMONN's "
            "own checkpoint"
        )


def feature_widths(settings: FeatureSettings) -> dict[str, int]:
    """Size of a cached vector, by stream.

    Raises:
        UserError: a part is of the wrong kind or incomplete.
    """
    with catch_warnings(action="ignore"):
        if isinstance(settings, SalmonnFeatures):
            return _widths(settings.encoder)
        build = _text if isinstance(settings, TextFeatures) else _speech
        return {"vectors": build(settings.encoder).width}


def chat(name: str, revision: str | None) -> None:
    """Raise a `UserError` unless the model's tokenizer has a chat template."""
    with catch_warnings(action="ignore"):
        tokenizer = _tokenizer(name, revision)
    if tokenizer.chat_template is None:
        raise UserError(f"model {name!r}: its tokenizer has no chat template; use a chat model")


def _speech_llm(settings: SalmonnEncoder, features: Path | None) -> SpeechLlm:
    """SALMONN without its audio encoders, checked against its checkpoint."""
    widths = files.read_metadata(features)["widths"] if features else _widths(settings.audio_encoder)
    language_model = TextEncoder(
        model=settings.language_model, revision=settings.revision, layer=settings.layer, lora=settings.lora
    )
    Prompt(_tokenizer(language_model.model, language_model.revision))
    with META:
        encoder = SpeechLlm(None, widths, _text(language_model), [], settings)
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        _, encoder.head = pretrained_weights.load(settings.checkpoint, trained)
    return encoder


def _widths(settings: AudioEncoder) -> dict[str, int]:
    """Sizes of Whisper's vectors (`speech`) and of BEATs' vectors (`audio`)."""
    whisper = _speech(settings.speech_encoder)
    if not isinstance(whisper, speech.WhisperSpeechEncoder):
        raise UserError(f"encoder {settings.whisper!r}: not a Whisper model; use one for `audio_encoder.whisper`")
    if settings.has_random_beats:
        with META:
            return {"speech": whisper.width, "audio": beats.Beats(settings.beats_config).width}
    return {"speech": whisper.width, "audio": _beats_width(settings.beats)}


@cache  # it reads all weights
def _beats_width(path: str) -> int:
    return beats.load(path).width


def _speech(settings: SpeechEncoder) -> nn.Module:
    with META:
        if settings.random_parts:
            return speech.build(settings, seed=0)[1]
        place, revision = locate(settings.model), settings.revision or "main"
        if ctranslate2.is_ctranslate2(place):
            model = WhisperEncoder(ctranslate2.architecture(place))
        else:
            with _loading(settings.model, "its configuration and preprocessor"):
                AutoFeatureExtractor.from_pretrained(place, revision=revision)
                model = AutoModel.from_config(AutoConfig.from_pretrained(place, revision=revision))
        return speech.wrap(model, settings, normalise=False)[1]


def _text(settings: TextEncoder) -> text.TextModule:
    with META:
        with _loading(settings.model, "its configuration"):
            architecture = text.architecture(settings, _place(settings.model), settings.revision or "main")
            model = AutoModel.from_config(architecture)
        model.requires_grad_(settings.freeze == "none")
        if settings.freeze == "base":
            model = text.adapted(model, settings, seed=0)
    return text.TextModule(model, architecture.get_text_config().hidden_size, settings.frozen)


def _loading(name: str, what: str) -> AbstractContextManager[None]:
    return loading(f"model {name!r}: {what}", is_local(name))


@cache
def _tokenizer(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    return text.load_tokenizer(TextEncoder(model=_place(name)), revision)


def _place(name: str) -> str:
    """The folder of a model's configuration and tokenizer."""
    place = locate(name)
    return _unpacked(place, gguf_file(place)) if is_local(name) and gguf_file(place) else place


@cache
def _unpacked(folder: str, file: str) -> str:
    """A temporary folder with the configuration and tokenizer of a GGUF file."""
    target = tempfile.TemporaryDirectory(prefix="preflight-")
    atexit.register(target.cleanup)
    with loading(f"{folder}/{file}", local=True):
        AutoConfig.from_pretrained(folder, gguf_file=file).save_pretrained(target.name)
        AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(target.name)
    return target.name
