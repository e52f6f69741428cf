"""Validation errors of a configuration as messages: one line each, with the key and the fix."""

import difflib
import reprlib
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

EXPECTED = {  # what pydantic's error types expect, in YAML terms
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}

VARIABLE_PATTERN = "^[A-Za-z_][A-Za-z0-9_]*$"  # names of environment variables


class WrongKey(ValueError):
    """Raised by validators: the dotted key within the section, what is wrong with it, and how to fix it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"`{key}`: {text}")
        self.key, self.text = key, text


def check_unique(key: str, entries: list) -> None:
    """Raise a `WrongKey` if an entry of the list at `key` is repeated."""
    if repeated := [entry for entry in entries if entries.count(entry) > 1]:
        raise WrongKey(key, f"duplicate {repeated[0]!r}; list each entry once")


def lines(invalid: ValidationError, model: Any, values: Any) -> list[str]:
    """One line per invalid key of `values`: the key, what is wrong and the fix.

    The errors of a union type have the same key and form one line.
    """
    by_key: dict[str, list[dict]] = {}
    for error in invalid.errors(include_url=False):
        by_key.setdefault(_key(error, values), []).append(error)
    return [f"`{key}`: {_text(errors, model)}" if key else _text(errors, model) for key, errors in by_key.items()]


def _key(error: dict, values: Any) -> str:
    """The dotted key of an error: pydantic's location without union tags."""
    location, kind = error["loc"], error["type"]
    if location[-1:] == ("[key]",):  # the key itself is invalid
        location, kind = (*location[:-2], error["input"]), "invalid_key"
    named = location[-1:] if kind in ("missing", "invalid_key") else ()  # never a tag, even if not in `values`
    parts = []
    for part in location[: len(location) - len(named)]:
        if part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int):
            parts.append(part)
            values = values[part]
    parts.extend(named)
    if kind.startswith("union_tag"):
        parts.append(error["ctx"]["discriminator"].strip("'"))
    elif kind == "value_error":
        parts.append(error["ctx"]["error"].key)
    return ".".join(str(part) if part != "" and str(part).isprintable() else ascii(part) for part in parts)


def _text(errors: list[dict], model: Any) -> str:
    """What is wrong with one key, and the fix."""
    error = errors[0]
    location, context, kind = error["loc"], error.get("ctx", {}), error["type"]
    if kind == "value_error":
        return context["error"].text
    if kind == "extra_forbidden":
        return f"unknown key; {_closest(location[-1], _keys(model, location[:-1]))}"
    if kind in ("missing", "union_tag_not_found"):
        return "missing; add it"
    if kind == "too_short":
        return "empty; add at least one entry"
    if kind == "string_too_short":
        return "empty; set it"
    if kind == "string_pattern_mismatch" and context["pattern"] == VARIABLE_PATTERN:
        return "not a valid name of an environment variable; give the variable's name, not the key itself"
    if kind == "string_pattern_mismatch":
        return "invalid name; use a lower-case letter followed by lower-case letters, digits and _"
    if kind == "invalid_key" or (kind == "string_type" and location[-1] == "[key]"):
        return "a key must be text; put it in quotes"
    if kind == "literal_error" and location[-1] == "[key]":
        return f"unknown key; choose from {context['expected']}"
    if kind == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}, not {context['tag']!r}"
    if not location:
        return f"must be a mapping of keys (docs/configuration.md lists them), not {reprlib.repr(error['input'])}"
    expected = " or ".join(EXPECTED.get(one["type"], one["msg"].removeprefix("Input should be ")) for one in errors)
    return f"must be {expected}, not {reprlib.repr(error['input'])}{next(filter(None, map(_hint, errors)), '')}"


def _hint(error: dict) -> str:
    """A hint if YAML or the command line has read a value as another type; else empty."""
    kind, given = error["type"], error["input"]
    if kind == "string_type" and isinstance(given, int | float):
        return "; put it in quotes"
    if kind not in ("int_type", "float_type", "bool_type") or not isinstance(given, str):
        return ""
    try:
        number = float(given)
    except ValueError:
        number = None
    if kind == "float_type" and number is not None and isinstance(yaml.safe_load(given), str):
        return f"; YAML reads {given.strip()} as text; write {yaml.safe_dump(number).split()[0]}"
    if number is not None or given.lower() in ("true", "false"):
        return "; remove the quotes, or set it in a file (in braces of --config all values are text)"
    return ""


def _keys(model: Any, location: tuple) -> list[str]:
    """The keys of the section at `location`, which contains pydantic's union tags."""
    schema = TypeAdapter(model).json_schema()
    node = _section(schema, schema)
    for part in location:
        if "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif "items" in node:
            node = node["items"]
        elif "properties" in node:
            node = node["properties"][part]
        else:
            (node,) = node["patternProperties"].values()
        node = _section(node, schema)
    return list(node["properties"])


def _section(node: dict, schema: dict) -> dict:
    """The section that a schema node refers to: optional, or defined under `$defs`."""
    if "anyOf" in node:
        node = next(choice for choice in node["anyOf"] if choice.get("type") != "null")
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _closest(key: Any, keys: list[str]) -> str:
    match = difflib.get_close_matches(str(key).lower(), keys, n=1)
    return f"did you mean `{match[0]}`?" if match else f"choose from {', '.join(keys)}"
