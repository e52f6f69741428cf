"""SALMONN's published checkpoints and the authors' fine-tuned ones: reading them, and converting the weights' names.

SALMONN's file is a dict; its entry `model` contains the trained weights: layer norms, Q-Former, projection, LoRA. The
authors' file is the state dict of their classifier: the same names with the prefix `salmonn_model.`, and the head's.
Here an encoder has the modules `speech` (`SpeechTokens`) and `model` (peft around transformers' LlamaModel).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from abhinaya.pretrained.loading import check_finite, check_weights, read_weights
from abhinaya.runtime.errors import UserError

Weights = dict[str, Tensor]

PREFIXES = {  # in the checkpoint: here
    "ln_speech.": "speech.ln_speech.",
    "ln_audio.": "speech.ln_audio.",
    "speech_query_tokens": "speech.query_tokens",
    "speech_Qformer.bert.embeddings.LayerNorm.": "speech.qformer.layernorm.",
    "speech_Qformer.bert.encoder.": "speech.qformer.encoder.",
    "speech_llama_proj.": "speech.projection.",
    "llama_model.base_model.model.model.": "model.base_model.model.",  # without the model around the output layer
}
# Also in the files, since the authors save all parameters and buffers that are not frozen: a counter, the tables of
# rotary embeddings, and BEATs' position table, which its layers share (only its first name was frozen).
UNUSED = re.compile(
    r"speech_Qformer\.bert\.embeddings\.position_ids|llama_model\..*\.rotary_emb\.inv_freq"
    r"|beats\.encoder\.layers\.\d+\.self_attn\.relative_attention_bias\.weight"
)
FINE_TUNED = "salmonn_model."
HEAD = {"pool.attention", "pool.sap_linear.weight", "pool.sap_linear.bias"} | {
    f"{layer}.{part}" for layer in ("ln", "fc", "out") for part in ("weight", "bias")
}
WIDTH = "speech.projection.bias"  # its length is the hidden size of the language model


def load(path: str | Path, expected: Mapping[str, Tensor]) -> tuple[Weights, Weights]:
    """The weights of a checkpoint under the names used here, and those of the head (empty if not fine-tuned).

    Args:
        expected: the trained weights of the encoder, by name. Only names and shapes are used, so they may be on the
            `meta` device.

    Raises:
        UserError: the file is missing, truncated or not a checkpoint, does not fit the encoder, or has weights that are
            not finite.
    """
    return adopt(read_weights(Path(path)), expected, path)


def adopt(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> tuple[Weights, Weights]:
    """As `load`, from a state dict in either layout that was read from `path`."""
    head: Weights = {}
    if any(name.startswith(FINE_TUNED) for name in state):
        if missing := HEAD - state.keys():
            raise UserError(f"{path}: fine-tuned, but without {min(missing)} of the head; get the complete file")
        head = {name: value for name, value in state.items() if name in HEAD}
        state = {name.removeprefix(FINE_TUNED): value for name, value in state.items() if name not in HEAD}
    weights = {_renamed(name): value for name, value in state.items() if not UNUSED.fullmatch(name)}
    if not weights.keys() & expected.keys():
        raise UserError(f"{path}: not a checkpoint of SALMONN (it contains {min(weights, default='nothing')}); use one")
    if WIDTH in weights and WIDTH in expected and len(weights[WIDTH]) != len(expected[WIDTH]):
        raise UserError(
            f"{path}: made for a language model of hidden size {len(weights[WIDTH])}, but `language_model` has "
            f"{len(expected[WIDTH])}; use a checkpoint and a language model of the same size (7B: 4096, 13B: 5120)"
        )
    check_weights(path, weights, expected, "use the checkpoint that was made for these models")
    check_finite(path, {**weights, **head})
    return weights, head


def _renamed(name: str) -> str:
    """The name used here for a checkpoint's `name`; unknown names are unchanged."""
    for prefix, ours in PREFIXES.items():
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix).replace("attention.self.", "attention.attention.")
    return name
