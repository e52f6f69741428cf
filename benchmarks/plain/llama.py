"""A random LLaMA with LoRA, without and with its output layer."""

import argparse
import math

import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from abhinaya.config.system import TextEncoder
from abhinaya.modeling.encoders import text
from plain.case import SEED

TYPICAL, SPREAD, MOST = 20.0, 0.6, 128  # tokens of a transcript: median, deviation of the logarithm, limit


def build(options: argparse.Namespace, output_share: float) -> text.TextModule:
    """A `TextModule` whose `causal` is the same model with its output layer.

    Args:
        output_share: operations of the output layer, relative to those of the other layers.
    """
    set_seed(SEED)
    heads = max(1, options.hidden // 64)
    config = LlamaConfig(
        hidden_size=options.hidden,
        intermediate_size=7 * options.hidden // 2,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=math.ceil(heads / 4),
        vocab_size=1,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    per_layer = sum(weight.numel() for weight in LlamaForCausalLM(config).model.layers[0].parameters())
    config.vocab_size = max(64, round(output_share * options.layers * per_layer / options.hidden))
    causal = LlamaForCausalLM(config)
    causal.requires_grad_(False)
    model = text.adapted(causal.model, TextEncoder(model="none"), SEED)
    encoder = text.TextModule(model, options.hidden, frozen=False)
    encoder.causal = causal
    return encoder


def transcript_lengths(count: int) -> np.ndarray:
    """Numbers of tokens (count,) of transcripts, on average 24."""
    drawn = np.random.default_rng(SEED).lognormal(math.log(TYPICAL), SPREAD, count)
    return drawn.round().clip(2, MOST).astype(int)
