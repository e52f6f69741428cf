"""A valid configuration, changes of it, and the message about an invalid one."""

from copy import deepcopy
from typing import Any

import pytest

from abhinaya import config
from abhinaya.runtime.errors import UserError

SPEECH = {"family": "speech", "encoder": {"model": "random:wavlm"}, "loss": {"name": "wce"}}
VOTE = {"members": ["s1"], "tie_break": "s1"}
BASE = {
    "seed": 1,
    "corpus": {"kind": "synthetic", "train": {"A": 60, "N": 90}, "classes": ["A", "N"]},
    "transcripts": {"source": "whisperx", "model": "tiny", "temperatures": [0.2, 1.0]},
    "systems": {
        "baseline": SPEECH,
        "s1": {
            "family": "speech",
            "description": "a line",
            "encoder": {"model": "/models/wavlm", "max_seconds": 10.0},
            "loss": {"name": "wfl", "gamma": 2.0},
            "training": {"batch_size": 8},
            "resources": {"gpu": 1},
        },
        "s1_vs": SPEECH | {"loss": {"name": "vs"}},
    },
    "ensembles": {"vote": {"members": ["baseline", "s1", "s1_vs"], "tie_break": "s1"}},
}
REMOVE = object()


def changed(*changes: tuple[str, Any]) -> dict:
    """BASE with `value` at each dotted `key`; REMOVE deletes the key."""
    values = deepcopy(BASE)
    for key, value in changes:
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
        if value is REMOVE:
            del inner[last]
    return values


def error_of(values: Any) -> str:
    with pytest.raises(UserError) as raised:
        config.validate(values)
    return str(raised.value)
