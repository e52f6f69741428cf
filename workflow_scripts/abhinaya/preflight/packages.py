"""Are the packages there that the jobs import? A login node needs no GPU for that."""

import importlib.util

from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.vllm_args import is_for_gpus

FIX = "build it with `make env FLAVOUR=gpu` and work in .venv-gpu"


def torch(environment: str, on_gpus: bool) -> str:
    """torch and what encoders need beside it; on GPUs its build must be for them.

    Raises:
        UserError: one is absent; torch is the CPU's build.
    """
    _require("torch", "transformers", "peft", "accelerate")
    from torch import __version__, version

    if on_gpus and version.cuda is None:
        raise UserError(
            f"torch {__version__} computes on CPUs only, but jobs ask for GPUs (environment: {environment}); {FIX}"
        )
    return f"torch {__version__}"


def whisperx() -> str:
    """Raises a `UserError` when WhisperX or its engine is absent."""
    _require("whisperx", "faster_whisper", "ctranslate2")
    return "WhisperX"


def vllm(on_gpus: bool) -> str:
    """vLLM, of the build for GPUs where jobs ask for them.

    Raises:
        UserError: it is absent, or the other build.
    """
    _require("vllm")
    if on_gpus and not is_for_gpus():
        raise UserError(f"vLLM: the installed build computes on CPUs only, but jobs ask for GPUs; {FIX}")
    if is_for_gpus() and not on_gpus:
        raise UserError("vLLM: the installed build computes on GPUs; set `resources.gpu` of its system to 1 or more")
    return "vLLM"


def _require(*packages: str) -> None:
    absent = [package for package in packages if importlib.util.find_spec(package) is None]
    if absent:
        raise UserError(
            f"{', '.join(absent)}: not installed here; build the environment with `make env`, and work in it"
        )
