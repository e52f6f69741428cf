"""The models of config/paper.yaml without their weights: configurations, and folders that our loading code reads.

`architectures.json` has the published configurations (`real`) and small ones of the same structure (`tiny`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    GPT2Tokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    WhisperFeatureExtractor,
)

from abhinaya.data.corpora import sentences
from abhinaya.labels import CLASSES
from abhinaya.modeling.encoders.salmonn import prompt
from abhinaya.runtime import files

FILE = Path(__file__).with_name("architectures.json")
TOKENS = 1000  # of the tokenizer; below the vocabulary of the tiny models
SEED = 1234
START, END = "<s>", "</s>"
CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@cache
def architectures(shapes: str) -> dict[str, dict]:
    """By published name; `beats` and `qformer` are those of SALMONN."""
    return json.loads(FILE.read_text(encoding="utf-8"))[shapes]


def config(name: str, shapes: str) -> PretrainedConfig:
    """The configuration of the model `name`."""
    return AutoConfig.for_model(**architectures(shapes)[name])


def folder_of(name: str, shapes: str, parent: Path) -> Path:
    """A folder with the configuration of `name`, and its preprocessor or a tokenizer, but no weights."""
    folder = parent / name.replace("/", "--")
    if not folder.is_dir():
        settings = config(name, shapes)
        settings.save_pretrained(folder)
        if settings.model_type == "whisper":
            WhisperFeatureExtractor(feature_size=settings.num_mel_bins).save_pretrained(folder)
        else:
            tokenizer().save_pretrained(folder)
    return folder


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-pair tokenizer of our own sentences and SALMONN's prompts, with start and end token and chat template."""
    texts = [text for letter in CLASSES for text in sentences.emotional(letter, "train")]
    texts += [prompt.AFTER.format(question) for question in prompt.PROMPTS]
    made = GPT2Tokenizer().train_new_from_iterator(texts, TOKENS, new_special_tokens=[START, END], show_progress=False)
    made.bos_token, made.eos_token, made.chat_template = START, END, CHAT
    return made


@contextmanager
def random_weights(device: torch.device, draw_dtype: torch.dtype | None = None) -> Iterator[None]:
    """Within this block, transformers draws a model's weights on `device` where it would load them, always the same.

    Args:
        draw_dtype: the weights are drawn in this type, then converted to the one asked for, so that a model has the
            same weights in any type; None: drawn in the type asked for, which needs no more memory than loading.
    """

    def draw(
        place: str, config: PretrainedConfig | None = None, dtype: torch.dtype = torch.float32, **_: object
    ) -> tuple[PreTrainedModel, dict]:
        settings = config or AutoConfig.from_pretrained(place)
        torch.manual_seed(SEED)
        with device:
            model = AutoModel.from_config(settings, dtype=draw_dtype or dtype)
        for parameter in model.parameters():  # not the buffers: tables of positions stay in fp32
            parameter.data = parameter.data.to(dtype)
        return model, {"missing_keys": [], "mismatched_keys": []}

    with patch.object(AutoModel, "from_pretrained", draw):
        yield


def folder_for_server(name: str, shapes: str, parent: Path) -> Path:
    """As `folder_of`, with what vLLM reads besides: the architecture's name, its data type, and the end token."""
    folder = folder_of(name, shapes, parent)
    settings = files.read_json(folder / "config.json")
    ends = {"bos_token_id": tokenizer().bos_token_id, "eos_token_id": tokenizer().eos_token_id}
    served = {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
    files.write_json(settings | served | ends, folder / "config.json")
    return folder
