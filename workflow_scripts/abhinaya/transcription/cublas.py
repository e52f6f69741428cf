"""cuBLAS 12 for CTranslate2.

CTranslate2 opens cuBLAS by name, `libcublas.so.12`, when it first computes on a GPU, and cuBLAS opens NVRTC. torch and
all other packages use CUDA 13, and the folders of the packages with these two libraries are not on the loader's path. A
library that is already loaded is found by its name, so they are loaded here first. They do not disturb CUDA 13, because
the symbols of both are versioned and stay local.
"""

import ctypes
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import PurePosixPath

from abhinaya.runtime.errors import UserError

# Package -> its file.
LIBRARIES = {
    "nvidia-cuda-nvrtc-cu12": "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    "nvidia-cublas-cu12": "nvidia/cublas/lib/libcublas.so.12",
}


def load() -> list[str]:
    """Load the libraries and return where each was found: the package's file, or else a name on the loader's path.

    Raises:
        UserError: one of them cannot be loaded.
    """
    return [_load(package, file) for package, file in LIBRARIES.items()]


def _load(package: str, file: str) -> str:
    name = PurePosixPath(file).name
    try:
        place = str(distribution(package).locate_file(file))
    except PackageNotFoundError:
        place = name
    try:
        ctypes.CDLL(place)
    except OSError as error:
        raise UserError(
            f"WhisperX: CTranslate2 needs {name} on GPUs, which cannot be loaded ({error}); run "
            f"`make env FLAVOUR=gpu` and use .venv-gpu, or `pip install {package}`"
        ) from None
    return place
