"""The tables of `docs/configuration.md`, made from the models of the configuration."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from abhinaya.config.base import Section

MARKED = re.compile(r"(<!-- keys of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "object": "mapping",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def filled(page: str) -> str:
    """`page` with the table of each section inserted between `<!-- keys of Section -->` and `<!-- end -->`."""
    sections = {section.__name__: section for section in _sections(Section)}
    return MARKED.sub(lambda match: f"{match[1]}{table(sections[match[2]])}\n{match[3]}", page)


def _sections(section: type[Section]) -> Iterator[type[Section]]:
    """The models of all sections; they are defined once `Config` is imported."""
    for other in section.__subclasses__():
        yield other
        yield from _sections(other)


def table(section: type[Section]) -> str:
    """The section's own keys, without inherited ones, as a Markdown table."""
    schema = section.model_json_schema()
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in (key for key in section.__annotations__ if key in section.model_fields):
        value = schema["properties"][key]
        meaning = value.get("description") or _described(value, schema)
        default = _default(section.model_fields[key])
        rows.append(f"| `{key}` | {_type(value)} | {default} | {meaning} |")
    return "\n".join(rows)


def _described(value: dict, schema: dict) -> str:
    """The docstring of the section that a key holds, or that a tag such as `kind: csv` selects."""
    section = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else schema
    return section["description"]


def _type(value: dict) -> str:
    """A key's type in words, from its JSON Schema."""
    if "$ref" in value or "discriminator" in value:
        return "section"
    if "patternProperties" in value:
        return "sections by name"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "anyOf" in value:
        return " or ".join(map(_type, value["anyOf"]))
    if value["type"] == "array":
        item = _type(value["items"])
        return f"list of {item}s" if item in (*TYPES.values(), "section") else f"list of {item}"
    bounds = ", ".join(f"{sign} {value[bound]}" for bound, sign in BOUNDS.items() if bound in value)
    return f"{TYPES[value['type']]} {bounds}".rstrip()


def _default(field: Any) -> str:
    """The default in YAML; for a section, only values that differ from the section's own defaults."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Section):
        value = value.model_dump(exclude_defaults=True)
        if not value:
            return "–"
    if isinstance(value, list):
        value = [item.model_dump(exclude_defaults=True) if isinstance(item, Section) else item for item in value]
    if isinstance(value, float):
        return f"`{yaml.safe_dump(value).split()[0]}`"  # JSON's 1e-05 would be text in YAML
    quoted = json.dumps(value)
    return f"`{quoted if isinstance(value, str) and not _is_plain(value) else quoted.replace(chr(34), '')}`"


def _is_plain(text: str) -> bool:
    """Whether YAML reads unquoted `text` as the same string."""
    try:
        return yaml.safe_load(text) == text
    except yaml.YAMLError:
        return False
