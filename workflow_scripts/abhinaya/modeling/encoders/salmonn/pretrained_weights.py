"""SALMONN's published checkpoints and the authors' fine-tuned ones: names, reading, writing.

SALMONN's file is a dict whose entry `model` holds what was trained: layer norms, Q-Former, projection, LoRA. The
authors' own is the bare state dict of their classifier: the same names behind `salmonn_model.`, and the head's. Ours
are the names in an encoder with `speech` (`SpeechTokens`) and `model` (peft around transformers' LlamaModel).
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

Weights = dict[str, Tensor]

PREFIXES = {  # theirs: ours
    "ln_speech.": "speech.ln_speech.",
    "ln_audio.": "speech.ln_audio.",
    "speech_query_tokens": "speech.query_tokens",
    "speech_Qformer.bert.embeddings.LayerNorm.": "speech.qformer.layernorm.",
    "speech_Qformer.bert.encoder.": "speech.qformer.encoder.",
    "speech_llama_proj.": "speech.projection.",
    "llama_model.base_model.model.model.": "model.base_model.model.",  # theirs has an output layer around it
}
POSITIONS = "speech_Qformer.bert.embeddings.position_ids"
# By-products of saving whatever is not frozen: a counter, the tables of rotary embeddings, and BEATs' position table,
# which its layers share (only its first name was frozen).
EXTRAS = re.compile(
    rf"{re.escape(POSITIONS)}|llama_model\..*\.rotary_emb\.inv_freq"
    r"|beats\.encoder\.layers\.\d+\.self_attn\.relative_attention_bias\.weight"
)
FINE_TUNED = "salmonn_model."
HEAD = {"pool.attention", "pool.sap_linear.weight", "pool.sap_linear.bias"} | {
    f"{layer}.{part}" for layer in ("ln", "fc", "out") for part in ("weight", "bias")
}
WIDTH = "speech_llama_proj.weight"  # (hidden size of the language model, 768)


def load(path: str | Path, expected: Mapping[str, Tensor]) -> tuple[Weights, Weights]:
    """The weights of a checkpoint under our names, and those of the head in a fine-tuned one (else none).

    Args:
        expected: what the encoder trains, by name; for its names and shapes alone, so it may lie on `meta`.

    Raises:
        UserError: the file is absent, cut off, of something else, does not fit the encoder, or holds numbers that are
            not finite.
    """
    return adopt(read(path), expected, path)


def save(weights: Mapping[str, Tensor], path: str | Path, head: Mapping[str, Tensor] | None = None) -> None:
    """Write `weights` (our names) in SALMONN's layout or, with a `head`, in that of the authors' fine-tuned files."""
    with files.atomic(path) as temporary:
        torch.save({"model": published(weights)} if head is None else fine_tuned(weights, head), temporary)


def published(weights: Mapping[str, Tensor]) -> Weights:
    """The entry `model` of SALMONN's file, from weights under our names."""
    return {POSITIONS: torch.arange(512)[None]} | {_theirs(name): value for name, value in weights.items()}


def fine_tuned(weights: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> Weights:
    """The authors' file, from an encoder's and a head's weights under our names."""
    return {FINE_TUNED + name: value for name, value in published(weights).items()} | dict(head)


def read(path: str | Path) -> Weights:
    """The state dict in a file of either layout, mapped from disk rather than read.

    Raises:
        UserError: absent, cut off, or not a checkpoint.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f"{path}: a folder; name the checkpoint file in it")
    if not file.is_file():
        raise UserError(f"{path}: no such file; download the checkpoint or correct the path")
    if not zipfile.is_zipfile(file):  # what torch.save makes; its directory comes last
        raise UserError(f"{path}: no checkpoint, or cut off; give the published file, whole")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a checkpoint ({reason}); give the published file") from None
    state = found.get("model", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no weights by name; give a checkpoint of SALMONN")
    return {str(name): value for name, value in state.items()}


def adopt(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> tuple[Weights, Weights]:
    """As `load`, from a state dict in either layout that was read from `path`."""
    theirs, head = _split(state, path)
    check(theirs, {_theirs(name): value for name, value in expected.items()}, path)
    for name, value in {**theirs, **head}.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: {name} holds numbers that are not finite; get the file again")
    return {_ours(name): value for name, value in theirs.items()}, head


def check(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise a `UserError` unless `found` has the names and shapes of `expected`."""
    if not found.keys() & expected.keys():
        odd = min(found, default="nothing")
        raise UserError(f"{path}: not a checkpoint of SALMONN (it holds {odd}); give one of SALMONN")
    if WIDTH in found and WIDTH in expected and len(found[WIDTH]) != len(expected[WIDTH]):
        raise UserError(
            f"{path}: made for a language model of hidden size {len(found[WIDTH])}, but the one given has "
            f"{len(expected[WIDTH])}; take the two that belong together (7B: 4096, 13B: 5120)"
        )
    for names, fault in ((expected.keys() - found, "lacks"), (found.keys() - expected, "has unknown")):
        if names:
            raise UserError(
                f"{path}: {fault} weights ({len(names)}, {min(names)} for one); "
                "take the checkpoint made for these models"
            )
    for name, value in expected.items():
        if found[name].shape != value.shape:
            raise UserError(
                f"{path}: {name} has shape {tuple(found[name].shape)}, but the models given need {tuple(value.shape)}; "
                "take the checkpoint made for them"
            )


def _split(state: Mapping[str, Tensor], path: str | Path) -> tuple[Weights, Weights]:
    """SALMONN's weights, without prefix and by-products, and the head's."""
    head: Weights = {}
    if any(name.startswith(FINE_TUNED) for name in state):
        if absent := HEAD - state.keys():
            raise UserError(f"{path}: fine-tuned, but lacks {min(absent)} of the head; take the whole file")
        head = {name: value for name, value in state.items() if name in HEAD}
        state = {name.removeprefix(FINE_TUNED): value for name, value in state.items() if name not in HEAD}
    return {name: value for name, value in state.items() if not EXTRAS.fullmatch(name)}, head


def _ours(name: str) -> str:
    return _renamed(name, PREFIXES, "attention.self.", "attention.attention.")


def _theirs(name: str) -> str:
    return _renamed(
        name, {ours: theirs for theirs, ours in PREFIXES.items()}, "attention.attention.", "attention.self."
    )


def _renamed(name: str, prefixes: Mapping[str, str], old: str, new: str) -> str:
    for prefix, other in prefixes.items():
        if name.startswith(prefix):
            return other + name.removeprefix(prefix).replace(old, new)
    raise KeyError(name)
