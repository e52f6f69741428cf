"""Loading models with transformers and checkpoint files with torch; errors are reported in one line."""

import argparse
import pickle
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging

from abhinaya.runtime.errors import UserError, first_line

ZIP = b"PK\x03\x04"
WRAPPER = "module."  # added to every name by torch's DataParallel and DistributedDataParallel
CLASS = re.compile(r"GLOBAL (\S+)")  # in torch's message about a class that it does not load
# Raised by torch's two unpicklers for damaged files.
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
UNREADABLE += (pickle.UnpicklingError, struct.error)


class Unread:
    """Takes the place of an object in a checkpoint that is not used here; the code of its own class is not run."""

    def __new__(cls, *_arguments: Any) -> "Unread":
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Drop the object's content."""


# Settings and scores of a training, which some programs store beside the weights: omegaconf's objects (it need not be
# installed), what they refer to, and numpy's numbers. All other classes are refused: loading them could run code.
_OMEGACONF = ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata")
_OMEGACONF += tuple(f"nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean"))
_REFERRED = ("collections.defaultdict", "typing.Any", *(f"builtins.{kind.__name__}" for kind in (dict, list, int, str)))
_NUMPY = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
HARMLESS = [argparse.Namespace, *((Unread, name) for name in (*_REFERRED, *_NUMPY))]
HARMLESS += [(Unread, f"omegaconf.{name}") for name in _OMEGACONF]


@contextmanager
def loading(what: str, local: bool) -> Iterator[None]:
    """Convert errors of transformers' loading functions to a `UserError`, and suppress its warnings meanwhile.

    Args:
        what: is being loaded, for the message.
        local: whether it is in a local folder, for the suggested fix.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except pickle.UnpicklingError as error:
        found = CLASS.search(str(error))
        why = f"a file contains an object of {found[1]}, whose loading could run code" if found else first_line(error)
        raise UserError(f"{what} cannot be loaded ({why}); use a copy of the model in safetensors") from None
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        fix = "check the name, the network and, for a gated model, the token, or give a local folder"
        if local:
            fix = "get the complete model again: weights, configuration and tokenizer or preprocessor"
        raise UserError(f"{what} cannot be loaded ({first_line(error)}); {fix}") from None
    finally:
        logging.set_verbosity(verbosity)


def check_complete(what: str, missing: Iterable[str], mismatched: Iterable[tuple[str, Any, Any]] = ()) -> None:
    """Raise a `UserError` if weights are missing or of another shape; transformers would draw them at random.

    Args:
        mismatched: name, shape in the file and shape in the model of each weight of another shape.
    """
    if names := sorted(missing):
        raise UserError(f"{what}: {len(names)} weights are missing, e.g. {names[0]}; get the complete model")
    if wrong := sorted(mismatched):
        name, found, expected = wrong[0]
        raise UserError(
            f"{what}: {len(wrong)} weights do not fit its configuration, e.g. {name} (shape {list(found)}, expected "
            f"{list(expected)}); get weights and configuration of the same model"
        )


def read_checkpoint(path: Path) -> Any:
    """The content of a file written by `torch.save`, memory-mapped if it is in the zip format (torch 1.6 or newer).

    No code in the file is run. Settings and scores beside the weights (`HARMLESS`) are skipped.

    Raises:
        UserError: the file is missing, truncated, in another format, or contains objects of another class.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP)) == ZIP
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; download the checkpoint or correct the path") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give the checkpoint file in it") from None
    except UNREADABLE as error:
        if found := CLASS.search(str(error)):
            raise UserError(
                f"{path}: contains an object of {found[1]}, whose loading could run code; with the program that wrote "
                "the file, save only the weights: `torch.save(model.state_dict(), FILE)`"
            ) from None
        raise UserError(
            f"{path}: truncated or not a checkpoint of torch ({first_line(error)}); get the complete file again"
        ) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, memory-mapped: its entry `model` or the whole file, without `module.`.

    Raises:
        UserError: as `read_checkpoint`, or the file contains no state dict.
    """
    content = read_checkpoint(path.expanduser())
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        kind = f"dict of {', '.join(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: contains no weights with names, but a {kind}; use a file of a model's `state_dict()`")
    return unwrapped({str(name): value for name, value in state.items()})


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` without the prefix `module.`, if all names have it."""
    if not all(name.startswith(WRAPPER) for name in state):
        return dict(state)
    return {name.removeprefix(WRAPPER): value for name, value in state.items()}


def check_weights(path: object, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], fix: str) -> None:
    """Raise a `UserError` unless `weights`, read from `path`, have the names and shapes of `expected`."""
    found, wanted = ({name: list(value.shape) for name, value in state.items()} for state in (weights, expected))
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if wrong:
        shapes = f"shape {found.get(wrong[0], 'missing')}, expected {wanted.get(wrong[0], 'none')}"
        raise UserError(f"{path}: {len(wrong)} weights do not fit the model, e.g. {wrong[0]} ({shapes}); {fix}")


def check_finite(path: object, weights: Mapping[str, Tensor]) -> None:
    """Raise a `UserError` if one of the `weights`, read from `path`, is infinite or not a number."""
    for name, value in weights.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite; get the file again")
