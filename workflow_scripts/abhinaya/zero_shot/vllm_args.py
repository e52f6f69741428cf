"""How our own vLLM server is called: its command line, its environment, its version."""

import importlib.metadata
import sys
from typing import Any

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.pretrained.hub import is_local

HOST = "127.0.0.1"
SERVED = "model"  # our server's name for the only model it has


def command(settings: ZeroShotSystem, place: str, commit: str | None, port: int, gpus: int) -> list[str]:
    """The command line of vLLM's server, without its key: everybody on the machine can read a command line.

    Args:
        place: a folder, or a published model's name.
        commit: of a published model.
    """
    server = settings.server
    options: dict[str, Any] = {
        "model": place,
        "served_model_name": SERVED,
        "host": HOST,
        "port": port,
        "dtype": server.dtype,
        "max_model_len": server.max_model_len,
        "tensor_parallel_size": max(1, gpus),
        "seed": 0,
        "generation_config": "vllm",  # or else the model's own: a repetition penalty, which changes greedy answers too
        "disable_uvicorn_access_log": True,
    }
    if server.quantization:
        options["quantization"] = server.quantization
    if commit:
        options |= {"revision": commit, "tokenizer_revision": commit}
    if gpus:
        options["gpu_memory_utilization"] = server.gpu_memory_utilization
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *(_option(name, value) for name, value in (options | server.arguments).items()),
    ]


def environment(settings: ZeroShotSystem, cpus: int, gpus: int) -> dict[str, str]:
    """What vLLM reads from its environment, apart from the key."""
    variables = {"VLLM_NO_USAGE_STATS": "1"}
    if is_local(settings.model):
        variables["HF_HUB_OFFLINE"] = "1"
    if gpus == 0:
        variables |= {
            "VLLM_CPU_KVCACHE_SPACE": str(settings.server.cpu_kv_cache_gb),
            # By itself vLLM binds its threads to certain cores and keeps one of them free: half of a small machine.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(cpus),
        }
        if settings.server.arguments.get("enforce_eager"):
            # To vLLM the key concerns the model alone: it would still compile parts of its sampler, for which a small
            # machine lacks a C++ compiler.
            variables["TORCHDYNAMO_DISABLE"] = "1"
    return variables


def _option(name: str, value: Any) -> str:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


def version() -> str | None:
    """The installed vLLM's."""
    return _version("vllm") or _version("vllm-cpu")  # the CPU build is a distribution of another name


def is_for_gpus() -> bool:
    """Whether the installed vLLM is another build than the CPU's, which may also be told by its version."""
    found = _version("vllm")
    return found is not None and not found.endswith("cpu")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
