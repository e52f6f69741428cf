"""The command line and the environment of the job's vLLM server, read by vLLM itself."""

import json
import subprocess
import sys
from typing import Any

import pytest

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.zero_shot import vllm_args

# vLLM's own reading of its options, and of a chat template that writes today's date unless one is given, as Llama's.
RENDER = """
import importlib, json, sys
import jinja2, uvloop
from vllm import platforms
if platforms.current_platform.is_unspecified():  # a GPU build on a machine without a GPU
    from vllm.platforms.cpu import CpuPlatform
    platforms.current_platform = CpuPlatform()
from vllm.renderers.hf import resolve_chat_template_kwargs
module = importlib.import_module(sys.argv.pop(1))
module.run_server, uvloop.run, read = lambda args: args, lambda args: read.append(args), []
module.main()
(args,) = read

class Tokenizer:
    def apply_chat_template(self, conversation, **values): pass

def rendered(template):
    values = resolve_chat_template_kwargs(Tokenizer(), template, args.default_chat_template_kwargs)
    return jinja2.Template(template).render(values, strftime_now=lambda form: "today")

dated = "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
print(json.dumps([rendered(dated + "Today Date: {{ date_string }}"), rendered("no date")]))
"""


def system(**keys: Any) -> ZeroShotSystem:
    return ZeroShotSystem.model_validate({"family": "zero_shot", "model": "some/model"} | keys)


def test_eager_execution_compiles_nothing() -> None:
    eager = system(server={"arguments": {"enforce_eager": True}})
    assert vllm_args.environment(eager, cpus=1, gpus=0)["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in vllm_args.environment(system(), cpus=1, gpus=0)


def test_sampler_that_is_compiled_on_the_node_is_off_on_gpus() -> None:
    published = vllm_args.environment(system(), cpus=4, gpus=2)
    assert published == {"VLLM_NO_USAGE_STATS": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in vllm_args.environment(system(), cpus=4, gpus=0)


def test_chat_template_values_can_be_overridden() -> None:
    own = system(server={"arguments": {"default_chat_template_kwargs": '{"date_string": "1 Jan 2025"}'}})
    options = [word for word in vllm_args.command(own, "m", None, port=1, gpus=1) if "template" in word]
    assert options == ['--default-chat-template-kwargs={"date_string": "1 Jan 2025"}']


def test_command_line_of_vllm() -> None:
    settings = system(
        revision="abc",
        server={
            "dtype": "bfloat16",
            "quantization": "fp8",
            "max_model_len": 512,
            "gpu_memory_utilization": 0.8,
            "arguments": {"enforce_eager": True, "enable_prefix_caching": False, "block_size": 32, "seed": 5},
        },
    )
    assert vllm_args.command(settings, "some/model", "abc", port=1234, gpus=2) == [
        *(sys.executable, "-c", f"from {vllm_args.MODULE} import main; main()"),
        *("--model=some/model", f"--served-model-name={vllm_args.SERVED}", "--host=127.0.0.1", "--port=1234"),
        *("--dtype=bfloat16", "--max-model-len=512", "--tensor-parallel-size=2", "--seed=5"),
        *(
            "--generation-config=vllm",
            "--disable-uvicorn-access-log",
            '--default-chat-template-kwargs={"date_string": "26 Jul 2024"}',
            "--quantization=fp8",
            "--revision=abc",
            "--tokenizer-revision=abc",
        ),
        *("--gpu-memory-utilization=0.8", "--enforce-eager", "--no-enable-prefix-caching", "--block-size=32"),
    ]
    local = vllm_args.command(system(model="./folder"), "/folder", None, port=1, gpus=0)
    assert "--tensor-parallel-size=1" in local
    assert not any("revision" in word or "memory" in word or "quantization" in word for word in local)


@pytest.mark.slow
def test_vllm_itself_reads_the_command_line_and_gives_the_date_to_the_chat_template() -> None:
    options = vllm_args.command(system(), "some/model", "abc", port=1, gpus=1)[3:]
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", RENDER, vllm_args.MODULE, *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["Today Date: 26 Jul 2024", "no date"]
