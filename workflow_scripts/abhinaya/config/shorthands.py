"""Short forms of a configuration's sections: a text in the place of the section that it is the main key of."""

from typing import Any


def expand(values: Any) -> Any:
    """`values` with short forms written out; anything else, right or wrong, stays as it is.

    `corpus: my.csv` is a table, `systems: {wavlm: NAME}` a speech system with this encoder, `encoder: NAME` its model,
    `loss: wfl` its loss.
    """
    if not isinstance(values, dict):
        return values
    values = dict(values)
    if isinstance(values.get("corpus"), str):
        values["corpus"] = {"kind": "csv", "table": values["corpus"]}
    if isinstance(values.get("systems"), dict):
        values["systems"] = {name: _system(system) for name, system in values["systems"].items()}
    return values


def _system(system: Any) -> Any:
    if isinstance(system, str):
        system = {"family": "speech", "encoder": system}
    if not isinstance(system, dict):
        return system
    system = dict(system)
    if system.get("family") in ("speech", "text") and isinstance(system.get("encoder"), str):
        system["encoder"] = {"model": system["encoder"]}
    if isinstance(system.get("loss"), str):
        system["loss"] = {"name": system["loss"]}
    if system.get("family") in ("speech", "text", "salmonn") and not _is_probe(system.get("head")):
        system.setdefault("loss", {"name": "wfl"})
    return system


def _is_probe(head: Any) -> bool:
    """Whether a head is fitted, without a training loss."""
    return isinstance(head, dict) and head.get("kind") in ("logistic", "svm")
