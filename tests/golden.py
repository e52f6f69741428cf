"""The golden numbers, and the weights behind them: each follows from its name (tests/data/golden/README.md)."""

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data" / "golden"


def listing(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def arrays(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


def weights(seed: str, facts: dict[str, dict], prefix: str = "") -> dict[str, np.ndarray]:
    """The weights that `facts` lists, drawn under `prefix` + name and checked."""
    found = {name: _weight(seed, prefix + name, fact["shape"]) for name, fact in facts.items()}
    for name, fact in facts.items():
        assert zlib.crc32(found[name].tobytes()) == fact["crc32"], name
    return found


def _weight(seed: str, name: str, shape: list[int]) -> np.ndarray:
    drawn = np.random.Generator(np.random.PCG64(zlib.crc32((seed + name).encode()))).standard_normal(shape)
    offset, scale = _rule(name, shape)
    return (offset + scale * drawn).astype(np.float32)


def _rule(name: str, shape: list[int]) -> tuple[float, float]:
    """Offset and scale."""
    owner, _, last = name.rpartition(".")
    owner = owner.rpartition(".")[2].lower()
    if "norm" in owner or owner == "ln":
        return (1.0 if last == "weight" else 0.0), 0.1
    if name.endswith("embed_tokens.weight"):
        return 0.0, 1.0
    if name == "pool.attention":
        return 0.0, 0.2
    if name.endswith("lora_B.default.weight") or len(shape) == 1:
        return 0.0, 0.1
    return 0.0, (1.5 if owner in ("q_proj", "k_proj") else 1.0) / float(np.sqrt(shape[1]))
