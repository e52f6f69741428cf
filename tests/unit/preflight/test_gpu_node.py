"""The checks of a GPU node: on the CPU with the real libraries, and without a GPU."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from abhinaya.preflight import gpu_node, node_checks
from abhinaya.runtime.errors import UserError
from support import preloaded
from support.running import ROOT

# The output of `nvidia-smi --query-gpu=driver_version --format=csv,noheader` on three machines.
TWO_GPUS = "580.95.05\n580.95.05\n"
OLD = "535.183.01\n"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"
BROKEN = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n\n"
)
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_driver_must_be_new_enough() -> None:
    assert node_checks.driver_version(TWO_GPUS, 580) == "driver 580.95.05; 580 or newer is needed"
    with pytest.raises(UserError, match=r"driver 535\.183\.01, but torch's CUDA needs 580 or newer; use a node"):
        node_checks.driver_version(OLD, 580)
    assert node_checks.driver_version(OLD, 525)


@pytest.mark.parametrize(
    ("output", "words"), [(MISMATCH, "version mismatch; "), (BROKEN, "couldn't communicate"), ("", "no output")]
)
def test_an_error_of_nvidia_smi_is_quoted(output: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"^nvidia-smi: .*{words}.*use another one$"):
        node_checks.driver_version(output, 580)


def test_the_oldest_driver_is_known_for_the_cuda_of_the_lock() -> None:
    lock = (ROOT / "envs/gpu.lock").read_text()
    (major,) = re.findall(r"^cuda-toolkit==(\d+)\.", lock, re.MULTILINE)
    assert int(major) in node_checks.OLDEST_DRIVER


@pytest.mark.parametrize(
    ("capability", "codes", "runs"),
    [
        ((9, 0), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 9), ["sm_75", "sm_80", "sm_90"], True),  # code for 8.0 runs on 8.9
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80", "sm_90", "compute_120"], False),
        ((10, 3), ["sm_90", "compute_90"], True),
        ((10, 3), ["sm_90"], False),
        ((12, 1), ["sm_120"], True),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a", "compute_100a"], False),
    ],
)
def test_which_code_runs_on_which_gpu(capability: tuple[int, int], codes: list[str], runs: bool) -> None:
    assert node_checks.has_code(capability, codes) is runs


@pytest.mark.slow
def test_the_real_libraries_pass_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(preloaded.python()))
    found = list(gpu_node.check("cpu", ["whisperx", "vllm"]))
    if not node_checks.vllm_args.is_for_gpus():
        assert [finding for finding in found if finding.failed] == []
    assert [finding.check for finding in found] == ["compiler", "all-reduce", "CTranslate2", "vLLM sampler"]
    assert float(re.search(r"difference from transformers (\S+)", found[2].message)[1]) < 1e-4


@pytest.mark.slow
@WITHOUT_GPU
def test_every_check_that_needs_a_gpu_fails_without_one_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(preloaded.python()))
    needing = [name for name in node_checks.CHECKS if name not in ("compiler", "cuBLAS 12")]
    for finding in (gpu_node.run(name, "cuda") for name in needing):
        assert finding.failed and "\n" not in finding.message
        assert re.search("CPU build|no GPU that torch can use|nvidia-smi", finding.message), finding


def at_start(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the processes of checks run `code` when they start Python, before their check."""
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", f"crashed with {signal.SIGSEGV.name}; "),
        ("import os; os.abort()", "crashed with SIGABRT; "),
        ("import os; os.write(2, b'the reason\\n\\n'); os._exit(3)", r"ended with status 3 \(the reason\); "),
    ],
)
def test_a_crash_is_one_failed_line(code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_start(code, monkeypatch, tmp_path)
    finding = gpu_node.run("compiler", "cpu")
    assert finding.failed and re.match(words + "install gcc", finding.message), finding


def test_a_check_that_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_start("import time; time.sleep(600)", monkeypatch, tmp_path)
    begin = time.monotonic()
    finding = gpu_node.run("compiler", "cpu", seconds=1)
    assert finding.failed and finding.message.startswith("no result after 1 s; ")
    assert time.monotonic() - begin < 300


def test_what_libraries_print_is_not_taken_for_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tmp_path / "cc"
    noisy.write_text(f'#!/bin/sh\necho "compiling"\nexec {shutil.which("gcc")} "$@"\n')
    noisy.chmod(0o755)
    monkeypatch.setenv("CC", str(noisy))
    finding = gpu_node.run("compiler", "cpu", seconds=600)
    assert not finding.failed and finding.message.startswith(str(noisy))


@pytest.mark.slow
def test_the_script_prints_lines_and_writes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(ROOT / "workflow_scripts/doctor.py")
    command = [str(preloaded.python()), script, "--device", "cpu", "--work", "--output"]
    done = subprocess.run([*command, str(tmp_path / "a/node.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"ok     compiler: .*\nok     all-reduce: .*\ndoctor: no errors\n", done.stdout)
    report = json.loads((tmp_path / "a/node.json").read_text())
    assert [(check["check"], check["failed"]) for check in report["checks"]] == [
        ("compiler", False),
        ("all-reduce", False),
    ]
    assert report["device"] == "cpu" and report["versions"]["torch"] == torch.__version__
    monkeypatch.setenv("CC", "no-such-compiler")
    done = subprocess.run([*command, str(tmp_path / "b.json")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "doctor: 1 error; fix them, or use another node\n"
    assert re.search(r"^error  compiler: C compiler no-such-compiler: ", done.stdout, re.MULTILINE)
