"""Availability of models: licences, tokens, complete copies, and downloads for `--fetch`."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from abhinaya.config.transcripts import Transcripts
from abhinaya.pretrained import hub
from abhinaya.runtime.errors import UserError

GB = 10**9
TOKENIZER = "tokenizer.json"  # without it faster-whisper downloads one


@dataclass(frozen=True)
class Available:
    """An available model."""

    message: str
    missing: int = 0  # bytes still to download


def language(name: str, revision: str | None, fetch: bool) -> Available:
    """Check a transformers model or a GGUF file.

    Args:
        fetch: download it if it is not in the local cache.

    Raises:
        UserError: as `hub.check_access`, or the download does not fit on the disk.
    """
    if hub.is_local(name):
        if not is_ctranslate2(hub.locate(name)):
            hub.check_access(name, revision)
        return Available(f"complete, in {hub.locate(name)}")
    hub.check_access(name, revision)
    if hub.cached_folder(name, revision):
        return Available("complete, in the cache")
    return _published(name, revision, fetch)


def whisper(settings: Transcripts, fetch: bool) -> Available:
    """Check the Whisper model for transcription, in CTranslate2's format.

    Raises:
        UserError: it is missing or in another format, or as `language`.
    """
    if hub.is_local(settings.model) or Path(settings.model).is_dir():
        place = hub.locate(settings.model) if hub.is_local(settings.model) else settings.model
        if not is_ctranslate2(place):
            raise UserError(
                f"transcripts.model {settings.model!r}: {place} has no model.bin and vocabulary; convert it for "
                "CTranslate2, or use a published size such as `large-v3`"
            )
        if not Path(place, TOKENIZER).is_file():
            raise UserError(
                f"transcripts.model {settings.model!r}: {place} has no {TOKENIZER}; copy it from the original model"
            )
        return Available(f"complete, in {place}")
    name = repository(settings.model)
    hub.check_access(name, None)
    copy = hub.cached_folder(name, None)
    if copy and is_ctranslate2(copy) and (copy / TOKENIZER).is_file():
        return Available("complete, in the cache")
    return _published(name, None, fetch)


def file(path: str, kind: str) -> str:
    """Check the format of a checkpoint file of BEATs or SALMONN, without loading its weights.

    Raises:
        UserError: it is missing, truncated or of another format.
    """
    from abhinaya.modeling.encoders.salmonn import beats
    from abhinaya.pretrained.loading import read_weights

    weights = beats.load(path).state_dict() if kind == "BEATs" else read_weights(Path(path))
    count = sum(weight.numel() for weight in weights.values())
    return f"{path}: checkpoint of {kind}, {count / 1e6:.1f} million weights"


def repository(name: str) -> str:
    """The published name for faster-whisper's short name, such as `large-v3`.

    Raises:
        UserError: the name is unknown.
    """
    from faster_whisper import utils

    if "/" in name:
        return name
    if name not in utils.available_models():
        sizes = ", ".join(utils.available_models())
        raise UserError(f"transcripts.model {name!r}: not a size of Whisper; choose from {sizes}, or give ./folder")
    return utils._MODELS[name]


def is_ctranslate2(place: str | Path) -> bool:
    from abhinaya.pretrained import ctranslate2  # imports torch

    return ctranslate2.is_ctranslate2(place)


def cache_folder() -> Path:
    return Path(constants.HF_HUB_CACHE)


def _published(name: str, revision: str | None, fetch: bool) -> Available:
    size = sum(hub.files(name, revision).values())
    if not fetch:
        return Available(f"not downloaded; the first job or --fetch downloads {size / GB:.1f} GB", size)
    free = shutil.disk_usage(existing(cache_folder())).free
    if size > free:
        sizes = f"{size / GB:.1f} GB, but {cache_folder()} has {free / GB:.1f} GB free"
        raise UserError(f"model {name!r}: {sizes}; free disk space, or set HF_HOME to another disk")
    hub.fetch(name, revision)
    return Available(f"downloaded, {size / GB:.1f} GB")


def existing(path: Path) -> Path:
    """`path`, or its nearest existing parent folder."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
