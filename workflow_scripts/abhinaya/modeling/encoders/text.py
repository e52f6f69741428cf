"""Language models of transformers that read the transcript: LLaMA, RoBERTa and similar (paper: LLaMA-3.1-8B, LoRA).

The vectors of a transcript do not depend on the other transcripts of its batch: padding is on the right, where a causal
model cannot see it, and masked for other models. The output layer over the vocabulary is loaded only to generate text.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging
from transformers.utils.hub import cached_file, extract_commit_hash

from abhinaya.config.system import TextEncoder
from abhinaya.modeling.encoders.base import PretrainedEncoder, check_layer
from abhinaya.pretrained.hub import as_folder, is_local
from abhinaya.pretrained.loading import check_complete, loading
from abhinaya.runtime.errors import UserError, first_line

logging.disable_progress_bar()


class Transcripts:
    """Loads transcripts as token ids; `prepare` tokenizes all of them at once."""

    def __init__(self, settings: TextEncoder, tokenizer: PreTrainedTokenizerBase, model: nn.Module | None) -> None:
        """
        Args:
            model: the language model, possibly with LoRA; None if its vectors are cached.

        Raises:
            UserError: the settings require an end token and the tokenizer has none, or `max_tokens` exceeds the
                model's limit.
        """
        self.settings, self.tokenizer = settings, tokenizer
        self.vocabulary = math.inf if model is None else model.get_input_embeddings().num_embeddings
        limit = math.inf if model is None else max_length(model)
        if settings.max_tokens > limit:
            raise UserError(
                f"encoder {settings.model!r}: `max_tokens` is {settings.max_tokens}, but the model's limit is {limit}; "
                "lower it"
            )
        if settings.special_tokens == "end" and tokenizer.eos_token_id is None:
            raise UserError(
                f"encoder {settings.model!r}: its tokenizer has no end token; set `special_tokens: tokenizer`"
            )

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Add `tokens` to `rows`, and count the truncated transcripts (docs/fidelity.md, 17).

        Raises:
            UserError: the tokenizer belongs to another model.
        """
        texts, limit, end = rows["text"].tolist(), self.settings.max_tokens, [self.tokenizer.eos_token_id]
        adds_its_own = self.settings.special_tokens == "tokenizer"
        tokens = token_ids(self.tokenizer, texts, add_special_tokens=adds_its_own)
        if not adds_its_own:
            tokens = [ids + end for ids in tokens]
        truncated = sum(len(ids) > limit for ids in tokens)
        if truncated and adds_its_own:  # keeps the end token; the authors' truncation removes it
            tokens = token_ids(self.tokenizer, texts, add_special_tokens=True, truncation=True, max_length=limit)
        if not all(tokens) and end == [None]:
            raise UserError(
                f"encoder {self.settings.model!r}: its tokenizer returns no tokens for an empty transcript and has no "
                "end token; use another model"
            )
        tokens = [ids[:limit] or end for ids in tokens]
        check_tokens(tokens, self.vocabulary, self.settings.model)
        remark = f"{truncated} of {len(rows)} transcripts are longer than {limit} tokens and were cut."
        return rows.assign(tokens=tokens), [remark] if truncated else []

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: token ids (T,), T >= 1 even for an empty transcript."""
        return {"inputs": torch.tensor(row["tokens"])}

    def size(self, row: dict[str, Any]) -> float:
        return len(row["tokens"])


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], **options: Any) -> list[list[int]]:
    """Token ids of each text; a special token that is spelled out in a text is treated as text."""
    return tokenizer(texts, split_special_tokens=True, verbose=False, **options)["input_ids"] if texts else []


def check_tokens(tokens: Iterable[Sequence[int]], vocabulary: float, name: str) -> None:
    """Raise a `UserError` if a token id is outside the `vocabulary` of the model `name`."""
    highest = max((max(ids) for ids in tokens if ids), default=0)
    if highest >= vocabulary:
        raise UserError(
            f"encoder {name!r}: its tokenizer returns token id {highest}, but the model has only {vocabulary} tokens; "
            "get the tokenizer of this model"
        )


class TextModule(PretrainedEncoder):
    """A language model, with or without LoRA."""

    causal: PreTrainedModel  # `model` with its output layer, if it is loaded to generate text

    def __init__(self, model: nn.Module, width: int, frozen: bool) -> None:
        super().__init__(model, width, frozen)
        self.is_causal = is_causal(model)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) and their lengths -> normalised vectors of the last layer (B, T, H) and lengths (B,)."""
        mask = padding_mask(self.is_causal, inputs, lengths)
        return self.model(input_ids=inputs, attention_mask=mask).last_hidden_state, lengths


def is_causal(model: nn.Module) -> bool:
    """Whether all attention of `model` is causal; False if transformers does not tell."""
    found = [module.is_causal for module in model.modules() if hasattr(module, "is_causal")]
    return bool(found) and all(found)


def padding_mask(is_causal: bool, inputs: Tensor, lengths: Tensor) -> Tensor | None:
    """The `attention_mask` (B, T) of inputs (B, T, …) that are padded on the right.

    None for a causal model: no vector depends on what follows it, and without a mask torch can use its fastest kernels.
    """
    if is_causal:
        return None
    return (torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]).long()


def build(settings: TextEncoder, seed: int, device: torch.device, bf16: bool) -> tuple[Transcripts, TextModule]:
    """The loader of transcripts and the encoder for `settings`.

    Raises:
        UserError: as `load` and `Transcripts`.
    """
    tokenizer, encoder = load(settings, seed, device, bf16)
    return Transcripts(settings, tokenizer, encoder.model), encoder


def load(
    settings: TextEncoder, seed: int, device: torch.device, bf16: bool, generates: bool = False
) -> tuple[PreTrainedTokenizerBase, TextModule]:
    """The tokenizer and the encoder for `settings`.

    Args:
        seed: of LoRA's weights.
        bf16: keep frozen weights in bf16.
        generates: also load the output layer, to generate text (`TextModule.causal`).

    Raises:
        UserError: the model is missing, incomplete or of another kind, or the settings do not fit it.
    """
    where, place, revision = f"encoder {settings.model!r}", as_folder(settings.model), settings.revision or "main"
    trains_all = settings.freeze == "none"
    tokenizer = load_tokenizer(settings, settings.revision)
    with loading(where, is_local(settings.model)):
        config = architecture(settings, place, revision)
        if generates and type(config) in MODEL_FOR_MASKED_LM_MAPPING:  # transformers would only warn
            raise UserError(f"{where}: a {config.model_type} cannot generate text; use a LLaMA")
        options: dict[str, Any] = {}
        if settings.quantization:
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
            options["device_map"] = {"": device}
        loaded, report = (AutoModelForCausalLM if generates else AutoModel).from_pretrained(
            place,
            config=config,
            revision=revision,
            dtype=torch.bfloat16 if bf16 and not trains_all else torch.float32,
            output_loading_info=True,
            **options,
        )
        commit = extract_commit_hash(cached_file(place, "config.json", revision=revision), None)
    check_complete(where, (name for name in report["missing_keys"] if not name.startswith("pooler.")))  # BERT's, unused
    model = loaded.base_model if generates else loaded
    if model.main_input_name != "input_ids":
        raise UserError(f"{where}: a {config.model_type} does not read text; use LLaMA, RoBERTa, …")
    loaded.requires_grad_(trains_all)
    if settings.freeze == "base":
        model = adapted(model, settings, seed)
    encoder = TextModule(model, config.get_text_config().hidden_size, frozen=settings.freeze == "all")
    encoder.revisions = {"revision": commit}
    if generates:
        encoder.causal = loaded
    return tokenizer, encoder


def load_tokenizer(settings: TextEncoder, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        UserError: it is missing or has no vocabulary.
    """
    where = f"encoder {settings.model!r}: the tokenizer"
    with loading(where, is_local(settings.model)):
        tokenizer = AutoTokenizer.from_pretrained(as_folder(settings.model), revision=revision or "main")
    # transformers creates a tokenizer even if its vocabulary is missing, without a warning.
    if set(tokenizer("USER", add_special_tokens=False)["input_ids"]) <= set(tokenizer.all_special_ids):
        raise UserError(f"{where} has no vocabulary; get the complete model, its tokenizer files are missing")
    return tokenizer


def architecture(settings: TextEncoder, place: str, revision: str) -> PretrainedConfig:
    """The configuration of the model in `place`, with the number of layers reduced to `layer`.

    Raises:
        UserError: it is not a language model, or has fewer layers.
    """
    config = AutoConfig.from_pretrained(place, revision=revision)
    if config.is_encoder_decoder:
        raise UserError(
            f"encoder {settings.model!r}: a {config.model_type} has an encoder and a decoder; use LLaMA, RoBERTa, …"
        )
    text = config.get_text_config()
    check_layer(settings.model, settings.layer, text.num_hidden_layers)
    text.num_hidden_layers = settings.layer or text.num_hidden_layers
    text.use_cache = False
    return config


def max_length(model: nn.Module) -> float:
    """The maximum number of tokens in an input."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    # RoBERTa's positions start after the id of the padding token.
    return positions - getattr(getattr(model, "embeddings", None), "padding_idx", -1) - 1


def adapted(model: PreTrainedModel, settings: TextEncoder, seed: int) -> nn.Module:
    """`model` with LoRA, initialised from `seed`; before training it has no effect.

    Raises:
        UserError: the model has no layers with the names in `lora.targets`.
    """
    lora = settings.lora
    set_seed(seed)
    try:
        return get_peft_model(
            model,
            LoraConfig(
                r=lora.r,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=lora.targets,
                task_type=TaskType.FEATURE_EXTRACTION,
            ),
        )
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise UserError(
            f"encoder {settings.model!r}: `lora.targets` do not fit ({first_line(error)}); choose from "
            f"{', '.join(names)}"
        ) from None
