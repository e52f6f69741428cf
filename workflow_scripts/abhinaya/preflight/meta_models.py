"""A system's classifier as an outline: every weight's name and shape on torch's `meta` device, and none of the numbers.

Made from configuration files and tokenizers alone, in a second or two, by the code that builds the real one; so what
that would refuse after hours in a queue (parts that do not belong together, settings beyond a model) is told here.
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
    """The classifier of a system.

    Args:
        features: a shard of cached features; Whisper and BEATs are then not looked at.

    Raises:
        UserError: a part is of another kind, lacks a file, or does not belong to the others.
    """
    encoder = settings.encoder
    with _told():
        if isinstance(settings, SpeechSystem):
            module = _speech(encoder)
        elif isinstance(settings, TextSystem):
            module = _text(encoder)
            text.Transcripts(encoder, _tokenizer(encoder.model, encoder.revision), module.model)
        else:
            module = salmonn(encoder, features)
        with META:
            whole = Classifier(module, settings.head, [1] * len(CLASSES))
        checkpoint.load_head(whole, getattr(module, "head", {}), settings)
    return whole


def answering(settings: SalmonnZeroShot, features: Path | None = None) -> SpeechLlm:
    """The speech LLM that answers in words.

    Raises:
        UserError: as `classifier`; its checkpoint is a classifier's.
    """
    with _told():
        found = salmonn(settings.encoder, features)
    if found.head:
        raise UserError(
            f"{settings.encoder.checkpoint}: fine-tuned as a classifier, answers nothing; give SALMONN's own"
        )
    return found


def feature_widths(settings: FeatureSettings) -> dict[str, int]:
    """Numbers in a cached vector, by stream.

    Raises:
        UserError: a part is of another kind, lacks a file, or is cut off.
    """
    if isinstance(settings, SalmonnFeatures):
        return widths(settings.encoder)
    with _told():
        build = _text if isinstance(settings, TextFeatures) else _speech
        return {"vectors": build(settings.encoder).width}


def widths(audio_encoder: AudioEncoder) -> dict[str, int]:
    """Of Whisper's vectors (`speech`) and BEATs' (`audio`).

    Raises:
        UserError: a part is of another kind, or cut off.
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
    with _told():
        encoder = _speech(whisper)
        if not isinstance(encoder, speech.WhisperSpeechEncoder):
            raise UserError(f"encoder {audio_encoder.whisper!r}: is no Whisper; name one for `audio_encoder.whisper`")
        if audio_encoder.beats.startswith(RANDOM):
            with META:
                hears = beats.Beats(audio_encoder.beats_config)
        else:
            hears = beats.load(audio_encoder.beats)
    return {"speech": encoder.width, "audio": hears.width}


def salmonn(settings: SalmonnEncoder, features: Path | None) -> SpeechLlm:
    """SALMONN without its audio_encoder, checked against its checkpoint."""
    found = files.read_metadata(features)["widths"] if features else widths(settings.audio_encoder)
    reader = TextEncoder(
        model=settings.language_model, revision=settings.revision, layer=settings.layer, lora=settings.lora
    )
    Prompt(_tokenizer(reader.model, reader.revision))
    with META:
        encoder = SpeechLlm(None, found, _text(reader), [], settings)
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        _, encoder.head = pretrained_weights.load(settings.checkpoint, trained)
    return encoder


def chat(name: str, revision: str | None) -> None:
    """Raise a `UserError` unless the tokenizer of a model that is to be asked knows how a chat is written."""
    with _told():
        tokenizer = _tokenizer(name, revision)
    if tokenizer.chat_template is None:
        raise UserError(f"model {name!r}: its tokenizer has no chat template, so it answers nothing; name a chat model")


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
    if not pieces - {tokenizer.unk_token_id}:  # transformers makes one without its files, and says nothing
        raise UserError(f"model {name!r}: its tokenizer knows no words; get the tokenizer's files, too")
    return tokenizer


def _place(name: str) -> str:
    """Where configuration and tokenizer of a model are."""
    place = locate(name)
    return _unpacked(place, gguf_file(place)) if is_local(name) and gguf_file(place) else place


@cache
def _unpacked(folder: str, file: str) -> str:
    """A folder with what a GGUF file holds beside the weights, until this process ends."""
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
        raise UserError(f"model {name!r}: {what} cannot be loaded ({reason}); get the whole model again") from None


@contextmanager
def _told() -> Iterator[None]:
    """Without the warnings of loading numbers into an outline, which takes none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
