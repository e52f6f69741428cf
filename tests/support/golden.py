"""The golden numbers and their weights, which are derived from the weights' names (tests/data/golden/README.md)."""

import json
import re
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "golden"
FIXED = {"grep_a": (1.0, 0.2), "weight_g": (1.0, 0.1), "weight_v": (0.0, 1.0)}


def listing(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def arrays(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


def weights(seed: str, facts: dict[str, dict], prefix: str = "") -> dict[str, np.ndarray]:
    """The weights listed in `facts`, generated from `prefix` + name; their checksums are verified."""
    values = {name: _weight(seed, prefix + name, fact["shape"]) for name, fact in facts.items()}
    for name, fact in facts.items():
        assert zlib.crc32(values[name].tobytes()) == fact["crc32"], name
    return values


def _weight(seed: str, name: str, shape: list[int]) -> np.ndarray:
    if name.endswith("position_ids"):  # not random
        return np.arange(shape[-1])[None]
    if name.endswith("relative_attention_bias.weight"):  # one table for all layers
        name = re.sub(r"layers\.\d+\.", "layers.0.", name)
    normal = np.random.Generator(np.random.PCG64(zlib.crc32((seed + name).encode()))).standard_normal(shape)
    offset, scale = _rule(name, shape)
    return (offset + scale * normal).astype(np.float32)


def _rule(name: str, shape: list[int]) -> tuple[float, float]:
    """Offset and scale."""
    owner, _, last = name.rpartition(".")
    owner = owner.rpartition(".")[2].lower()
    if last in FIXED:
        return FIXED[last]
    if owner == "relative_attention_bias":
        return 0.0, 0.5
    if "norm" in owner or owner.partition("_")[0] == "ln":
        return (1.0 if last == "weight" else 0.0), 0.1
    if name.endswith("embed_tokens.weight") or name == "speech_query_tokens":
        return 0.0, 1.0
    if name.endswith("embed_positions.weight"):
        return 0.0, 0.3
    if name == "pool.attention":
        return 0.0, 0.2
    if name.endswith("lora_B.default.weight") or len(shape) == 1:
        return 0.0, 0.1
    gain = 1.5 if owner in ("q_proj", "k_proj", "query", "key") else 1.0
    if name.endswith("crossattention.output.dense.weight"):
        gain = 3.0
    return 0.0, gain / float(np.sqrt(np.prod(shape[1:])))
