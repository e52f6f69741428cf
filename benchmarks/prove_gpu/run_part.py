"""The process of one part: each check is a line of JSON on standard output, all else goes to standard error.

python -m prove_gpu.run_part PART OPTIONS_AS_JSON
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict

from prove_gpu.arguments import Options
from prove_gpu.checks import Check

OURS = ("abhinaya", "prove_gpu")


def main() -> None:
    part, options = sys.argv[1], Options(**json.loads(sys.argv[2]))
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    for check in checks(part, options):
        print(json.dumps(asdict(check)), file=results, flush=True)


def checks(part: str, options: Options) -> Iterator[Check]:
    """The checks of a part; an exception becomes a failed check, a missing package a skipped one."""
    try:
        yield from importlib.import_module(f"prove_gpu.{part}").run(options)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OURS:
            raise
        yield Check("packages", "skipped", f"{package} is not installed")
    except Exception as error:
        traceback.print_exc()
        yield Check("end", "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    main()
