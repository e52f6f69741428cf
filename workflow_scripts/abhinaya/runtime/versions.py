"""Software versions that are recorded with a result."""

import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from abhinaya import __version__


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of this project (with its git revision) and of `packages`."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True
        )
        revision = described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or not a clone
        revision = "unknown"
    return {"abhinaya": __version__, "git": revision, **{package: version(package) for package in packages}}
