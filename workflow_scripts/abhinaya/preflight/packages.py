"""Check that the packages of the jobs are installed; needs no GPU."""

import importlib.util

from abhinaya.preflight import compiler
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.vllm_args import is_for_gpus

FIX = "run `make env FLAVOUR=gpu` and use .venv-gpu"


def torch(environment: str, on_gpus: bool) -> str:
    """torch and the packages of the encoders; GPU jobs need a GPU build.

    Raises:
        UserError: a package is missing, or torch is a CPU build.
    """
    _require("torch", "transformers", "peft", "accelerate")
    from torch import __version__, version

    if on_gpus and version.cuda is None:
        raise UserError(
            f"torch {__version__} is a CPU build, but jobs request GPUs (environment: {environment}); {FIX}"
        )
    return f"torch {__version__}"


def whisperx() -> str:
    """Raise a `UserError` if WhisperX or CTranslate2 is missing."""
    _require("whisperx", "faster_whisper", "ctranslate2")
    return "WhisperX"


def vllm(on_gpus: bool) -> str:
    """vLLM; GPU jobs need a GPU build, a C compiler and Python's header files.

    Raises:
        UserError: one of them is missing, or vLLM is the wrong build.
    """
    _require("vllm")
    if on_gpus and not is_for_gpus():
        raise UserError(f"vLLM: the installed version is a CPU build, but jobs request GPUs; {FIX}")
    if is_for_gpus() and not on_gpus:
        raise UserError("vLLM: the installed version needs GPUs; set `resources.gpu` of its system to 1 or more")
    if not on_gpus:
        return "vLLM"
    return f"vLLM; {compiler.check()}"


def _require(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; run `make env` and use its environment")
