"""Are the models there, or to be had? Licences, tokens, and whole copies; what `--fetch` downloads."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from abhinaya.config.transcripts import Transcripts
from abhinaya.pretrained import hub
from abhinaya.runtime.errors import UserError

GB = 10**9
TOKENIZER = "tokenizer.json"  # without it faster-whisper asks the network for one


@dataclass(frozen=True)
class Had:
    """A model that can be had."""

    told: str
    missing: int = 0  # bytes that are to be downloaded yet


def language(name: str, revision: str | None, fetch: bool) -> Had:
    """A model in transformers' layout, or in a GGUF file.

    Args:
        fetch: download what the local cache lacks.

    Raises:
        UserError: as `models.check_access`; what is to be downloaded does not fit.
    """
    if hub.is_local(name):
        if not is_ctranslate2(hub.locate(name)):
            hub.check_access(name, revision)
        return Had(f"whole, in {hub.locate(name)}")
    hub.check_access(name, revision)
    if hub.cached_folder(name, revision):
        return Had("whole, in the cache")
    return _published(name, revision, fetch)


def whisper(settings: Transcripts, fetch: bool) -> Had:
    """The Whisper that transcribes, in CTranslate2's layout.

    Raises:
        UserError: absent, or not in that layout; as `language`.
    """
    if hub.is_local(settings.model) or Path(settings.model).is_dir():
        place = hub.locate(settings.model) if hub.is_local(settings.model) else settings.model
        if not is_ctranslate2(place):
            raise UserError(
                f"transcripts.model {settings.model!r}: {place} has no model.bin beside a vocabulary; convert it for "
                "CTranslate2, or name a size as `large-v3`"
            )
        if not Path(place, TOKENIZER).is_file():
            raise UserError(
                f"transcripts.model {settings.model!r}: {place} has no {TOKENIZER}; copy it from the model it was "
                "converted from"
            )
        return Had(f"whole, in {place}")
    name = repository(settings.model)
    hub.check_access(name, None)
    copy = hub.cached_folder(name, None)
    if copy and is_ctranslate2(copy) and (copy / TOKENIZER).is_file():
        return Had("whole, in the cache")
    return _published(name, None, fetch)


def file(path: str, kind: str) -> str:
    """A checkpoint file of BEATs or SALMONN: its layout. Its numbers stay on disk.

    Raises:
        UserError: absent, cut off, or of something else.
    """
    from abhinaya.modeling.encoders.salmonn import beats, pretrained_weights

    found = beats.load(path).state_dict() if kind == "BEATs" else pretrained_weights.read(path)
    return (
        f"{path}: a checkpoint of {kind}, {sum(weight.numel() for weight in found.values()) / 1e6:.1f} million weights"
    )


def repository(name: str) -> str:
    """The published name behind faster-whisper's short one, as `large-v3`.

    Raises:
        UserError: there is none.
    """
    from faster_whisper import utils

    if "/" in name:
        return name
    if name not in utils.available_models():
        raise UserError(
            f"transcripts.model {name!r}: no size of Whisper; choose from {', '.join(utils.available_models())}, or "
            "write a folder as ./folder"
        )
    return utils._MODELS[name]


def is_ctranslate2(place: str | Path) -> bool:
    from abhinaya.pretrained import ctranslate2  # late: it brings torch

    return ctranslate2.is_ctranslate2(place)


def cache_folder() -> Path:
    return Path(constants.HF_HUB_CACHE)


def _published(name: str, revision: str | None, fetch: bool) -> Had:
    size = sum(hub.files(name, revision).values())
    if not fetch:
        return Had(f"to be had; the first job downloads {size / GB:.1f} GB, or --fetch does", size)
    free = shutil.disk_usage(existing(cache_folder())).free
    if size > free:
        raise UserError(
            f"model {name!r}: {size / GB:.1f} GB, but {cache_folder()} has {free / GB:.1f} GB left; free some, or set "
            "HF_HOME to a folder that has it"
        )
    hub.fetch(name, revision)
    return Had(f"downloaded, {size / GB:.1f} GB")


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
