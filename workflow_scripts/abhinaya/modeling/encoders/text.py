"""Language models of transformers that read the transcript: LLaMA, RoBERTa and their kin (paper: LLaMA-3.1-8B, LoRA).

Whatever stands beside a transcript in its batch, its vectors are those it would get alone: padding is on the right and
masked. The output layer over the vocabulary is loaded only where text is to be generated.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors import SafetensorError
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
from abhinaya.pretrained.hub import as_folder, is_local
from abhinaya.runtime.errors import UserError

logging.disable_progress_bar()


class Transcripts:
    """Turns transcripts into token ids, all at once."""

    def __init__(self, settings: TextEncoder, tokenizer: PreTrainedTokenizerBase, model: nn.Module | None) -> None:
        """
        Args:
            model: which reads them, perhaps with LoRA; None where its vectors are cached.

        Raises:
            UserError: the tokenizer has no end token and the settings want one; the model reads less than they say.
        """
        self.settings, self.tokenizer = settings, tokenizer
        self.vocabulary = math.inf if model is None else model.get_input_embeddings().num_embeddings
        most = math.inf if model is None else longest(model)
        if settings.max_tokens > most:
            raise UserError(
                f"encoder {settings.model!r}: `max_tokens` {settings.max_tokens}, but it reads at most {most}; lower it"
            )
        if settings.special_tokens == "end" and tokenizer.eos_token_id is None:
            raise UserError(
                f"encoder {settings.model!r}: its tokenizer has no end token; set `special_tokens: tokenizer`"
            )

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Add `tokens` to `rows`, and count the transcripts that are cut (docs/fidelity.md, 17).

        Raises:
            UserError: the tokenizer is another model's.
        """
        texts, most = rows["text"].tolist(), self.settings.max_tokens
        own = self.settings.special_tokens == "tokenizer"
        end = [self.tokenizer.eos_token_id]
        tokens = self._tokens(texts) if own else [ids + end for ids in self._tokens(texts)]
        cut = sum(len(ids) > most for ids in tokens)
        if cut:  # the authors cut off their end token; a tokenizer keeps its own
            tokens = self._tokens(texts, truncation=True, max_length=most) if own else [ids[:most] for ids in tokens]
        if not all(tokens) and end == [None]:
            raise UserError(
                f"encoder {self.settings.model!r}: its tokenizer makes nothing of an empty transcript and has no end "
                "token; take another model"
            )
        tokens = [ids or end for ids in tokens]
        check_known(tokens, self.vocabulary, self.settings.model)
        remarks = [f"{cut} of {len(rows)} transcripts are longer than {most} tokens and were cut."] if cut else []
        return rows.assign(tokens=tokens), remarks

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """`inputs`: token ids (T,), T >= 1 even for an empty transcript."""
        return {"inputs": torch.tensor(row["tokens"])}

    def size(self, row: dict[str, Any]) -> float:
        return len(row["tokens"])

    def _tokens(self, texts: list[str], **options: Any) -> list[list[int]]:
        own = self.settings.special_tokens == "tokenizer"
        # A transcript that spells out a special token must not become one.
        options |= {"add_special_tokens": own, "split_special_tokens": True, "verbose": False}
        return self.tokenizer(texts, **options)["input_ids"] if texts else []


def check_known(tokens: Iterable[Sequence[int]], vocabulary: float, name: str) -> None:
    """Raise a `UserError` when a tokenizer's piece is beyond the `vocabulary` of the model that it came with."""
    highest = max((max(ids) for ids in tokens if ids), default=0)
    if highest >= vocabulary:
        raise UserError(
            f"encoder {name!r}: its tokenizer gives piece {highest}, and the model has {vocabulary}; get the tokenizer "
            "that belongs to it"
        )


class TextModule(nn.Module):
    """A language model, perhaps with LoRA beside it. One that is frozen as a whole stays in evaluation mode."""

    random_parts = ()

    def __init__(self, model: nn.Module, width: int, frozen: bool) -> None:
        super().__init__()
        self.model = model
        self.width = width
        self.frozen = frozen
        self.revisions: dict[str, str | None] = {}  # the commit of a published model
        self.causal: PreTrainedModel | None = None  # `model` and its output layer, where text is to be generated

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) and their lengths -> the last layer's normed vectors (B, T, H) and lengths (B,)."""
        mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
        return self.model(input_ids=inputs, attention_mask=mask.long()).last_hidden_state, lengths

    def train(self, mode: bool = True) -> "TextModule":
        return super().train(mode and not self.frozen)


def build(settings: TextEncoder, seed: int, device: torch.device, bf16: bool) -> tuple[Transcripts, TextModule]:
    """The loader of transcripts and the encoder for `settings`.

    Raises:
        UserError: as `load` and `Transcripts`.
    """
    tokenizer, encoder = load(settings, seed, device, bf16)
    return Transcripts(settings, tokenizer, encoder.model), encoder


def loader(settings: TextEncoder, revision: str | None) -> Transcripts:
    """The loader of transcripts alone, of a published model's commit `revision`, where its vectors are cached.

    Raises:
        UserError: the tokenizer is absent or knows no words.
    """
    return Transcripts(settings, _tokenizer(settings, as_folder(settings.model), revision or "main"), None)


def load(
    settings: TextEncoder, seed: int, device: torch.device, bf16: bool, generates: bool = False
) -> tuple[PreTrainedTokenizerBase, TextModule]:
    """The tokenizer and the encoder for `settings`; frozen weights are held in bf16 if computing is.

    Args:
        generates: keep the output layer, too, for text to be generated (`TextModule.causal`).

    Raises:
        UserError: the model is absent, lacks a part or is of another kind, or the settings do not fit it.
    """
    place, revision = as_folder(settings.model), settings.revision or "main"
    whole = settings.freeze == "none"
    tokenizer = _tokenizer(settings, place, revision)
    with _told(settings, "the model"):
        config = architecture(settings, place, revision)
        if generates and type(config) in MODEL_FOR_MASKED_LM_MAPPING:  # transformers would only warn
            raise UserError(f"encoder {settings.model!r}: a {config.model_type} generates no text; use a LLaMA")
        loaded, report = (AutoModelForCausalLM if generates else AutoModel).from_pretrained(
            place,
            config=config,
            revision=revision,
            dtype=torch.bfloat16 if bf16 and not whole else torch.float32,
            output_loading_info=True,
            **_quantized(settings, device),
        )
        commit = extract_commit_hash(cached_file(place, "config.json", revision=revision), None)
    absent = sorted(
        name for name in report["missing_keys"] if not name.startswith("pooler.")
    )  # BERT's has no part here
    if absent:  # transformers would draw them at random and only warn
        raise UserError(
            f"encoder {settings.model!r}: the checkpoint lacks {len(absent)} of its weights, {absent[0]} for one; get "
            "the whole model"
        )
    model = loaded.base_model if generates else loaded
    if model.main_input_name != "input_ids":
        raise UserError(f"encoder {settings.model!r}: a {config.model_type} does not read text; use LLaMA, RoBERTa, …")
    loaded.requires_grad_(whole)
    if settings.freeze == "base":
        model = adapted(model, settings, seed)
    encoder = TextModule(model, config.get_text_config().hidden_size, frozen=settings.freeze == "all")
    encoder.revisions = {"revision": commit}
    encoder.causal = loaded if generates else None
    return tokenizer, encoder


def _tokenizer(settings: TextEncoder, place: str, revision: str) -> PreTrainedTokenizerBase:
    with _told(settings, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
    # transformers makes one without its vocabulary, and says nothing.
    if set(tokenizer("USER", add_special_tokens=False)["input_ids"]) <= set(tokenizer.all_special_ids):
        raise UserError(
            f"encoder {settings.model!r}: its tokenizer knows no words; get the whole folder, its tokenizer files are "
            "missing"
        )
    return tokenizer


@contextmanager
def _told(settings: TextEncoder, what: str) -> Iterator[None]:
    """Tell in a line why transformers cannot load `what`, and keep its own tables out of the log."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"encoder {settings.model!r}: {what} cannot be loaded ({reason}); {_remedy(settings)}"
        ) from None
    finally:
        logging.set_verbosity(before)


def _remedy(settings: TextEncoder) -> str:
    if is_local(settings.model):
        return "get the whole folder, weights and tokenizer files, again"
    return "check the name, the network and, for a gated model, the token, or give a local folder"


def architecture(settings: TextEncoder, place: str, revision: str) -> PretrainedConfig:
    """The architecture of the model in `place`, cut at `layer`.

    Raises:
        UserError: it is no language model, or the settings go beyond it.
    """
    config = AutoConfig.from_pretrained(place, revision=revision)
    told = f"encoder {settings.model!r}:"
    if config.is_encoder_decoder:
        raise UserError(f"{told} a {config.model_type} is encoder and decoder; use LLaMA, RoBERTa, …")
    text = config.get_text_config()
    if settings.layer is not None:
        if settings.layer > text.num_hidden_layers:
            raise UserError(f"{told} `layer` {settings.layer}, but it has {text.num_hidden_layers}; lower it")
        text.num_hidden_layers = settings.layer
    text.use_cache = False
    return config


def longest(model: nn.Module) -> float:
    """The most tokens that it reads."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    # RoBERTa and its kin count positions from behind the padding's number.
    return positions - getattr(getattr(model, "embeddings", None), "padding_idx", -1) - 1


def adapted(model: PreTrainedModel, settings: TextEncoder, seed: int) -> nn.Module:
    """`model` with LoRA, which is drawn from `seed` and is zero until it is trained.

    Raises:
        UserError: it has no such layers as `lora.targets` name.
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
            f"encoder {settings.model!r}: `lora.targets` do not fit ({str(error).splitlines()[0]}); choose from "
            f"{', '.join(names)}"
        ) from None


def _quantized(settings: TextEncoder, device: torch.device) -> dict[str, Any]:
    if settings.quantization is None:
        return {}
    kind = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": kind, "device_map": {"": device}}
