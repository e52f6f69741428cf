"""What depends on the environment, CPU or GPU, that the tests run in."""

import pytest

from abhinaya.zero_shot.vllm_args import is_for_gpus


def require_vllm_on_cpus() -> None:
    """Skip a test whose job starts a vLLM server with `gpu: 0`: the GPU build has no code for CPUs."""
    if is_for_gpus():
        pytest.skip("a job starts its own vLLM server on the CPU; the GPU environment's vLLM needs a GPU")
