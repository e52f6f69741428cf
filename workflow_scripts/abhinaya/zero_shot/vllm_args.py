"""Command line, environment and version of the job's vLLM server."""

import importlib.metadata
import json
import sys
from typing import Any

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.pretrained.hub import is_local

HOST = "127.0.0.1"
SERVED = "model"  # the served model's name
# `vllm serve` runs this, too, but only in the GPU build: in the CPU build it does not find its own version.
MODULE = "vllm.entrypoints.launchers.api_server.entry"
# Some of Llama's chat templates write today's date into the prompt, unless it is given. This is the date that those of
# LLaMA-3.1 and 3.3 write, so that neither the day nor the template's version changes a prompt.
TEMPLATE_VALUES = {"date_string": "26 Jul 2024"}


def command(settings: ZeroShotSystem, place: str, commit: str | None, port: int, gpus: int) -> list[str]:
    """The command line of vLLM's server, without the API key, since command lines are visible to all users.

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
        "generation_config": "vllm",  # not the model's own, whose repetition penalty changes greedy decoding
        "disable_uvicorn_access_log": True,
        "default_chat_template_kwargs": json.dumps(TEMPLATE_VALUES),  # ignored by templates without these names
    }
    if server.quantization:
        options["quantization"] = server.quantization
    if commit:
        options |= {"revision": commit, "tokenizer_revision": commit}
    if gpus:
        options["gpu_memory_utilization"] = server.gpu_memory_utilization
    return [
        # Not `-m`: the engine's process would import the started module, with the web server, again.
        *(sys.executable, "-c", f"from {MODULE} import main; main()"),
        *(_option(name, value) for name, value in (options | server.arguments).items()),
    ]


def environment(settings: ZeroShotSystem, cpus: int, gpus: int) -> dict[str, str]:
    """vLLM's environment variables, except the API key."""
    variables = {"VLLM_NO_USAGE_STATS": "1"}
    if is_local(settings.model):
        variables["HF_HUB_OFFLINE"] = "1"
    if gpus:
        # FlashInfer's sampler is compiled on the node, with a CUDA toolkit that most nodes do not have; vLLM then ends
        # after it has loaded the model (https://github.com/vllm-project/vllm/issues/49497). Responses are greedy, so
        # another sampler gives the same.
        variables["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    else:
        variables |= {
            "VLLM_CPU_KVCACHE_SPACE": str(settings.server.cpu_kv_cache_gb),
            # By default vLLM binds its threads to certain cores and reserves one, half of a small machine.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(cpus),
            # The engine computes in its own process. By default it starts another one, to bind threads to cores, which
            # "nobind" forbids. Despite the name, engine and web server remain two processes.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
        if settings.server.arguments.get("enforce_eager"):
            # vLLM applies `enforce_eager` to the model only and would still compile parts of the sampler, which
            # needs a C++ compiler.
            variables["TORCHDYNAMO_DISABLE"] = "1"
    return variables


def _option(name: str, value: Any) -> str:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


def version() -> str | None:
    """The installed version of vLLM."""
    return _version("vllm") or _version("vllm-cpu")  # the CPU build is a separate distribution


def is_for_gpus() -> bool:
    """Whether the installed vLLM is a GPU build; CPU builds differ in the distribution or version name."""
    installed = _version("vllm")
    return installed is not None and not installed.endswith("cpu")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
