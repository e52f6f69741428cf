"""Check for a C compiler and Python's header files, with which Triton compiles its kernels' launchers on a node."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from abhinaya.runtime.errors import UserError

EXTENSION = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_probe(void) { return PyModule_Create(&module); }
"""


def check() -> str:
    """Compile an extension of Python with the compiler that Triton would choose (triton/runtime/build.py), and load it.

    Raises:
        UserError: there is no compiler, no Python.h, or the compiler fails.
    """
    chosen = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if chosen is None:
        raise UserError("no C compiler; install gcc, or load its module in the profile's `setup`")
    headers = sysconfig.get_paths()["include"]
    if not Path(headers, "Python.h").is_file():
        raise UserError(
            f"no Python.h in {headers}; install python3-dev, or build the environment with a Python that has it: "
            "make env FLAVOUR=gpu PYTHON=…"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "probe.c"), Path(folder, "probe.so")
        source.write_text(EXTENSION)
        command = [chosen, "-shared", "-fPIC", f"-I{headers}", str(source), "-o", str(library)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise UserError(f"C compiler {chosen}: {error.strerror}; correct CC, or unset it") from None
        if done.returncode:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise UserError(f"C compiler {chosen} failed: {reason}; use another one (CC), or reinstall gcc")
        importlib.util.module_from_spec(importlib.util.spec_from_file_location("probe", library))
    return f"{chosen} and {headers}/Python.h"
