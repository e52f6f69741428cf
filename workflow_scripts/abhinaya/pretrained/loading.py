"""Loading models with transformers and checkpoint files with torch; errors are reported in one line."""

import pickle
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
# Raised by torch's two unpicklers for damaged files.
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
UNREADABLE += (pickle.UnpicklingError, struct.error)


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
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        fix = "check the name, the network and, for a gated model, the token, or give a local folder"
        if local:
            fix = "get the complete model again: weights, configuration and tokenizer or preprocessor"
        raise UserError(f"{what} cannot be loaded ({first_line(error)}); {fix}") from None
    finally:
        logging.set_verbosity(verbosity)


def check_complete(what: str, missing: Iterable[str]) -> None:
    """Raise a `UserError` if weights are missing; transformers initialises them randomly and only warns."""
    if names := sorted(missing):
        raise UserError(f"{what}: {len(names)} weights are missing, e.g. {names[0]}; get the complete model")


def read_checkpoint(path: Path) -> Any:
    """The content of a file written by `torch.save`, memory-mapped if it is in the zip format (torch 1.6 or newer).

    Raises:
        UserError: the file is missing, truncated or in another format.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP)) == ZIP
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found; download the checkpoint or correct the path") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give the checkpoint file in it") from None
    except UNREADABLE as error:
        raise UserError(
            f"{path}: truncated or not a checkpoint of torch ({first_line(error)}); get the complete file again"
        ) from None


def check_weights(path: object, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], fix: str) -> None:
    """Raise a `UserError` unless `weights`, read from `path`, have the names and shapes of `expected`."""
    found, wanted = ({name: list(value.shape) for name, value in state.items()} for state in (weights, expected))
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if wrong:
        shapes = f"shape {found.get(wrong[0], 'missing')}, expected {wanted.get(wrong[0], 'none')}"
        raise UserError(f"{path}: {len(wrong)} weights do not fit the model, e.g. {wrong[0]} ({shapes}); {fix}")
