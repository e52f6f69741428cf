"""Reading Whisper's encoder from a CTranslate2 model, the format of WhisperX and faster-whisper.

The file `model.bin` (format version 6): u32 version, string spec, u32 revision, u32 count, then for each tensor its
name, u8 rank, u32 dimensions, u8 type, u32 bytes, data. A string is u16 length and that many bytes, the last a NUL.
"""

import math
import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya.runtime.errors import UserError

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
FLOATS = (np.float32, np.float16)
NAMES = (  # CTranslate2's, transformers'
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("position_encodings/encodings", "embed_positions/weight"),
    ("gamma", "weight"),
    ("beta", "bias"),
    ("/", "."),
)


def is_ctranslate2(folder: str | Path) -> bool:
    return (
        Path(folder, "model.bin").is_file()
        and Path(folder, "vocabulary.txt").is_file() | Path(folder, "vocabulary.json").is_file()
    )


def whisper_encoder(folder: str | Path) -> WhisperEncoder:
    """transformers' Whisper encoder (float32) with the weights of a CTranslate2 folder.

    Raises:
        UserError: the file is truncated, of another version, quantised, or not a Whisper model.
    """
    config = architecture(folder)
    try:
        encoder = WhisperEncoder(config)
        encoder.load_state_dict(_renamed(_tensors(folder), config.d_model))
        return encoder
    except (KeyError, RuntimeError):  # a tensor is missing, unknown or has another shape
        raise _not_whisper(folder) from None


def architecture(folder: str | Path) -> WhisperConfig:
    """The encoder's configuration; reads no weights.

    Raises:
        UserError: as `whisper_encoder`.
    """
    tensors = _tensors(folder)
    layers = {name.split("/")[1] for name in tensors if name.startswith("encoder/layer_") and "norm" not in name}
    try:
        width, mels, _ = tensors["encoder/conv1/weight"].shape
        return WhisperConfig(
            d_model=width,
            num_mel_bins=mels,
            encoder_layers=len(layers),
            encoder_attention_heads=int(tensors["encoder/num_heads"]),
            encoder_ffn_dim=len(tensors["encoder/layer_0/ffn/linear_0/bias"]),
            max_source_positions=len(tensors["encoder/position_encodings/encodings"]),
        )
    except KeyError:
        raise _not_whisper(folder) from None


def _tensors(folder: str | Path) -> dict[str, np.ndarray]:
    path = Path(folder, "model.bin")
    tensors = {name: value for name, value in _read(path).items() if name.startswith("encoder/")}
    if any(name.endswith("/weight") and value.dtype not in FLOATS for name, value in tensors.items()):
        raise UserError(f"{path}: quantised weights cannot be trained; use a float16 or float32 conversion")
    return tensors


def _not_whisper(folder: str | Path) -> UserError:
    return UserError(f"{Path(folder, 'model.bin')}: not a Whisper model; use a folder that faster-whisper can read")


def _renamed(tensors: dict[str, np.ndarray], width: int) -> dict[str, Tensor]:
    """Convert CTranslate2's names and fused projections to those of transformers."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.ndim:  # a setting, such as the number of heads
            continue
        name = re.sub(r"layer_(\d+)", r"layers.\1", name.removeprefix("encoder/"))
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        tensor = torch.from_numpy(value.astype(np.float32))
        if "linear_0" in name:  # query, key and value in one matrix
            names = [name.replace("self_attention.linear_0", f"self_attn.{part}_proj") for part in "qkv"]
            state |= zip(names, tensor.split(width), strict=True)
        else:
            state[name] = tensor
    # Whisper's keys have no bias; the fused layer has zeros there.
    return {name: tensor for name, tensor in state.items() if not name.endswith("k_proj.bias")}


def _read(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a `model.bin`, memory-mapped."""
    try:
        with path.open("rb") as file:
            version = _number(file, "I")
            if version != 6:
                raise UserError(f"{path}: CTranslate2 format {version}, not 6; convert the model again")
            _string(file), _number(file, "I")
            return dict(_tensor(file) for _ in range(_number(file, "I")))
    except (struct.error, ValueError, KeyError, UnicodeDecodeError):
        raise UserError(f"{path}: truncated or not a CTranslate2 model; copy it again") from None


def _tensor(file: BinaryIO) -> tuple[str, np.ndarray]:
    name, rank = _string(file), _number(file, "B")
    shape = [_number(file, "I") for _ in range(rank)]
    kind, size = _number(file, "B"), _number(file, "I")
    start, type_ = file.tell(), np.dtype(TYPES[kind])
    if not shape:
        return name, np.frombuffer(file.read(size), type_).reshape(())
    if size != type_.itemsize * math.prod(shape):
        raise ValueError(f"{name}: {size} bytes for the shape {shape}")
    mapped = np.memmap(file, type_, "r", start, tuple(shape))
    file.seek(start + size)  # memmap moves the position
    return name, mapped


def _number(file: BinaryIO, kind: str) -> int:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).decode().rstrip("\0")
