"""The checks of a node on which GPU jobs run: each uses the real library in the way that the jobs will.

`gpu_node` runs each in a process of its own: `python -m abhinaya.preflight.node_checks NAME DEVICE` prints the result
as JSON.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.preflight import compiler
from abhinaya.preflight.packages import FIX
from abhinaya.runtime.errors import UserError, first_line
from abhinaya.zero_shot import vllm_args

# The oldest driver for each major version of CUDA, from NVIDIA's CUDA release notes, section "CUDA Driver".
OLDEST_DRIVER = {12: 525, 13: 580}
FREE_SHARE = 0.8  # of a GPU's memory; the rest is room for the driver and for this process
CUBLAS = "libcublas.so.12"  # the name by which CTranslate2 opens it


def driver(device: str) -> str:
    """The driver is new enough for torch's CUDA."""
    needed = OLDEST_DRIVER[int(_torch_cuda().split(".")[0])]
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("nvidia-smi not found: no NVIDIA driver; run on a node with a GPU") from None
    return driver_version(done.stdout, needed)


def driver_version(output: str, needed: int) -> str:
    """The driver's version in the output of nvidia-smi, which has one line per GPU, or one with an error.

    Raises:
        UserError: there is no version, or it is older than `needed`.
    """
    line = next(iter(output.strip().splitlines()), "no output").strip()
    if not re.fullmatch(r"\d+(\.\d+)+", line):
        raise UserError(f"nvidia-smi: {line}; report the node to its administrator, and use another one")
    if int(line.split(".")[0]) < needed:
        raise UserError(f"driver {line}, but torch's CUDA needs {needed} or newer; use a node with a newer driver")
    return f"driver {line}; {needed} or newer is needed"


def gpu(device: str) -> str:
    """A GPU is visible and torch can use it."""
    torch = _torch_with_gpu()
    return f"{torch.cuda.get_device_name()} (1 of {torch.cuda.device_count()} visible), CUDA {torch.version.cuda}"


def capability(device: str) -> str:
    """torch has code for the GPU; a matrix product in bf16 is right."""
    torch = _torch_with_gpu()
    found, codes = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    described = f"capability {found[0]}.{found[1]}; torch {torch.__version__} has code for {', '.join(codes)}"
    if not has_code(found, codes):
        raise UserError(f"{described}; use another GPU")
    ones = torch.ones(256, 256, dtype=torch.bfloat16, device=device)
    if not bool((ones @ ones == 256).all()):
        raise UserError(f"{described}; but a matrix product is wrong: use another node, and report this one")
    return described


def has_code(capability: tuple[int, int], codes: list[str]) -> bool:
    """Whether one of `codes` (as in `sm_90`, `sm_90a`, `compute_90`) runs on a GPU of `capability` (as in 9, 0).

    Machine code (sm) runs on GPUs of the same major version from its minor version on, and with a letter only on its
    own; PTX (compute) runs on all later GPUs. Source: CUDA C++ Programming Guide, "Compute Capability".
    """
    for code in codes:
        kind, major, minor, letter = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", code).groups()
        version = (int(major), int(minor))
        if letter and version == capability:
            return True
        if not letter and version <= capability and (kind == "compute" or version[0] == capability[0]):
            return True
    return False


def memory(device: str) -> str:
    """No other process uses much of the GPU's memory."""
    free, total = (size / 2**30 for size in _torch_with_gpu().cuda.mem_get_info())
    described = f"{free:.1f} of {total:.1f} GiB free"
    if free < FREE_SHARE * total:
        raise UserError(f"{described}: another process uses the GPU (see nvidia-smi); end it, or use another GPU")
    return described


def all_reduce(device: str) -> str:
    """The library with which several GPUs exchange gradients adds up a tensor, here in one process alone."""
    import torch
    from torch import distributed

    backend = "gloo"
    if device == "cuda":
        torch, backend = _torch_with_gpu(), "nccl"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    summed = torch.arange(4.0, device=device)
    distributed.all_reduce(summed)
    if summed.tolist() != [0.0, 1.0, 2.0, 3.0]:
        raise RuntimeError(f"wrong sum {summed.tolist()}")
    number = ".".join(map(str, torch.cuda.nccl.version())) if device == "cuda" else torch.__version__
    return f"all-reduce with {backend} ({number})"


def cublas(device: str) -> str:
    """CTranslate2's library for matrix products is found in the way that CTranslate2 looks for it: by its name."""
    ctypes.CDLL(CUBLAS)
    return CUBLAS


def encode(device: str) -> str:
    """CTranslate2 encodes a window of 30 s with a tiny random Whisper, and agrees with transformers on the CPU."""
    import ctranslate2
    import numpy as np
    import torch
    from ctranslate2.converters.transformers import WhisperLoader
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    if device == "cuda":
        _torch_with_gpu()
    precision = "float16" if device == "cuda" else "float32"
    sizes = {f"{part}_{size}": 2 for part in ("encoder", "decoder") for size in ("layers", "attention_heads")}
    tokens = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")}
    torch.manual_seed(0)
    whisper = WhisperForConditionalGeneration(WhisperConfig(vocab_size=16, d_model=64, **sizes, **tokens)).eval()
    mels = torch.randn(2, 80, 3000)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        spec = WhisperLoader().get_model_spec(whisper)
        spec.register_vocabulary([str(token) for token in range(16)])
        spec.validate()
        spec.optimize()
        spec.save(folder)
        model = ctranslate2.models.Whisper(folder, device=device, compute_type=precision)
        encoded = model.encode(ctranslate2.StorageView.from_array(mels.numpy()))
        expected = whisper.model.encoder(mels).last_hidden_state.numpy()
    actual = np.array(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))
    difference = float(np.abs(actual - expected).max())
    if not difference < 0.1:  # the values are normalised to a variance of 1
        raise RuntimeError(f"the encoder's output differs by {difference:.2g} from that of transformers")
    return (
        f"CTranslate2 {ctranslate2.__version__} encodes in {precision}; difference from transformers {difference:.1e}"
    )


def sampler(device: str) -> str:
    """vLLM's sampler, in the environment of the job's own server, chooses tokens by top-p as the server's start does.

    One token has nearly all of the probability, so it is the only one that top-p leaves.
    """
    import torch

    if device == "cuda":
        _torch_with_gpu()
    settings = ZeroShotSystem(family="zero_shot", model="./none")  # a folder: no network
    os.environ |= vllm_args.environment(settings, cpus=1, gpus=int(device == "cuda"))
    from vllm.v1.sample.sampler import Sampler

    logits = torch.zeros(16, 1000, device=device)  # vLLM has another algorithm for few rows
    likely = torch.arange(16, device=device) * 7
    logits[torch.arange(16, device=device), likely] = 20.0
    top_p = torch.full((16,), 0.9, device=device)
    chosen, _ = Sampler().topk_topp_sampler(logits, {}, None, top_p)
    if not torch.equal(chosen.flatten().long(), likely):
        raise RuntimeError(f"wrong tokens {chosen.flatten().tolist()}")
    return f"vLLM {vllm_args.version()} samples with top-p"


def _torch_cuda() -> str:
    """The CUDA version that torch was built with.

    Raises:
        UserError: torch is a CPU build.
    """
    import torch

    if torch.version.cuda is None:
        raise UserError(f"torch {torch.__version__} is a CPU build; {FIX}")
    return torch.version.cuda


def _torch_with_gpu() -> Any:
    """The module torch, after its first use of a GPU.

    Raises:
        UserError: torch is a CPU build, or cannot use a GPU.
    """
    import torch

    _torch_cuda()
    try:
        torch.cuda.init()
    except RuntimeError as error:
        raise UserError(
            f"no GPU that torch can use ({first_line(error)}); request a GPU, and check nvidia-smi and "
            "CUDA_VISIBLE_DEVICES"
        ) from None
    return torch


# The checks by name, and what to do after an error that is not a `UserError` or after a crash.
CHECKS: dict[str, tuple[Callable[[str], str], str]] = {
    "driver": (driver, "check nvidia-smi on the node"),
    "GPU": (gpu, "check nvidia-smi on the node"),
    "capability": (capability, "use another GPU"),
    "GPU memory": (memory, "check nvidia-smi on the node"),
    "compiler": (
        lambda device: compiler.check(),
        "install gcc and python3-dev on the node, or load their modules in the profile's `setup`",
    ),
    "all-reduce": (all_reduce, "set NCCL_DEBUG=INFO for the reason; NCCL_SOCKET_IFNAME selects the network"),
    "cuBLAS 12": (cublas, f"WhisperX needs it on GPUs; {FIX}"),
    "CTranslate2": (encode, f"WhisperX needs it; {FIX}"),
    "vLLM sampler": (sampler, f"T1's server needs it; {FIX}, and check the compiler"),
}


def main() -> None:
    """Print the result of one check as JSON; what libraries print goes to standard error."""
    name, device = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        check, fix = CHECKS[name]
        try:
            result = {"message": check(device), "failed": False}
        except UserError as error:
            result = {"message": str(error), "failed": True}
        except Exception as error:
            result = {"message": f"{type(error).__name__}: {first_line(error)}; {fix}", "failed": True}
        json.dump(result, output)
    os._exit(0)  # the libraries' clean-up is not checked


if __name__ == "__main__":
    main()
