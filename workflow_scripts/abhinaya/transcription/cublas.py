"""cuBLAS 12 for CTranslate2.

CTranslate2 opens cuBLAS by name, `libcublas.so.12`, when it first computes on a GPU. torch and all other packages use
CUDA 13, and the folder of the package `nvidia-cublas-cu12` is not on the loader's path. A library that is already
loaded is found by its name, so it is loaded here first. It does not disturb cuBLAS 13, because the symbols of both are
versioned and stay local.
"""

import ctypes
from importlib.metadata import PackageNotFoundError, distribution

from abhinaya.runtime.errors import UserError

LIBRARY = "libcublas.so.12"
PACKAGE = "nvidia-cublas-cu12"


def load() -> str:
    """Load cuBLAS 12 and return where it was found: the package's file, or else the name for the loader's path.

    Raises:
        UserError: neither can be loaded.
    """
    place = _packaged() or LIBRARY
    try:
        ctypes.CDLL(place)
    except OSError as error:
        raise UserError(
            f"WhisperX: CTranslate2 needs {LIBRARY} on GPUs, which cannot be loaded ({error}); run "
            f"`make env FLAVOUR=gpu` and use .venv-gpu, or `pip install {PACKAGE}`"
        ) from None
    return place


def _packaged() -> str | None:
    """The library's file in the installed package, if there is one."""
    try:
        return str(distribution(PACKAGE).locate_file(f"nvidia/cublas/lib/{LIBRARY}"))
    except PackageNotFoundError:
        return None
