"""The memory of a process that loads a language model: a mapped file is not copied, a converted one only once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from support import running, text_corpus

PROBE = """
import re, sys, torch
sys.path.insert(0, sys.argv[1])
from abhinaya.config.system import TextEncoder
from abhinaya.modeling.encoders import text

def own():  # bytes that no other process can share
    kilobytes = re.search(r"Anonymous:\\s+(\\d+) kB", open("/proc/self/smaps_rollup").read())[1]
    return 1024 * int(kilobytes)

loaded = []
for folder in sys.argv[2:]:
    before = own()
    loaded.append(text.load(TextEncoder(model=folder), 0, torch.device("cpu"), bf16=True))
    print(own() - before)
"""


def save(folder: Path, dtype: torch.dtype, as_bin: bool = False) -> int:
    """Write a LLaMA of about 60 million weights; return the size of its file."""
    text_corpus.save_llama(folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"hidden_size": 1024, "head_dim": 512, "intermediate_size": 4096, "num_hidden_layers": 4}
    LlamaForCausalLM(LlamaConfig(**settings)).to(dtype).save_pretrained(folder)
    path = folder / "model.safetensors"
    if not as_bin:
        return path.stat().st_size
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
    return (folder / "pytorch_model.bin").stat().st_size


@pytest.mark.slow
def test_copies_of_the_weights_in_a_process(tmp_path: Path) -> None:
    text_corpus.save_llama(tmp_path / "small")  # loaded first, with the libraries
    sizes = {
        "mapped": save(tmp_path / "mapped", torch.bfloat16),
        "converted": save(tmp_path / "converted", torch.float16),
        "bin": save(tmp_path / "bin", torch.float16, as_bin=True),
    }
    folders = [str(tmp_path / name) for name in ("small", *sizes)]
    scripts = str(running.ROOT / "workflow_scripts")
    done = subprocess.run([sys.executable, "-c", PROBE, scripts, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    own = [int(line) for line in done.stdout.split()][1:]
    copies = {name: grown / size for (name, size), grown in zip(sizes.items(), own, strict=True)}
    assert copies["mapped"] < 0.2
    assert 0.9 < copies["converted"] < 1.2 and 0.9 < copies["bin"] < 1.2
