"""Reading YAML and JSON with the mistakes that YAML itself accepts reported: a key that is given twice."""

import json
import sys
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from abhinaya.runtime.errors import UserError

TEMPLATE = "__use_yte__"  # a key by which Snakemake expands the file as a template first


class UniqueKeyLoader(yaml.SafeLoader):
    """As yaml.SafeLoader, but a key that a mapping has twice is an error; else the last value would be used."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable):
                if key in seen:
                    raise UserError(f"line {line}: duplicate key {key!r}, also in line {seen[key]}; keep one")
                seen[key] = line
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> Any:
    """The content of a YAML or JSON file.

    Raises:
        UserError: the file is missing, not UTF-8 or not YAML, or a key is given twice; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'is not a file' if path.exists() else 'file not found'}; correct the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    return loads(text, str(path), is_json=path.suffix == ".json")


def loads(text: str, source: str, is_json: bool = False) -> Any:
    """The content of YAML or JSON text.

    Args:
        source: for messages.

    Raises:
        UserError: as `read`.
    """
    try:
        if is_json:
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, UniqueKeyLoader)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        kind = "JSON" if is_json else "YAML"
        raise UserError(f"{source}: not {kind} ({' '.join(str(error).split())}); correct the file") from None


def check_or_exit(paths: Iterable[str | Path]) -> None:
    """Read configuration files of Snakemake; an error ends the program with one line."""
    for path in paths:
        try:
            if not Path(path).is_file() or TEMPLATE not in Path(path).read_text(encoding="utf-8", errors="replace"):
                read(path)
        except UserError as error:
            sys.exit(f"error: {error}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"duplicate key {name!r}; keep one")
    return dict(pairs)
