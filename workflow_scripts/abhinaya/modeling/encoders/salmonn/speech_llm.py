"""SALMONN as an encoder (S2, ST1): LLaMA's input is a question around a clip's speech tokens, then the answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, set_seed

from abhinaya.config.features import SalmonnFeatures
from abhinaya.config.system import SalmonnEncoder, TextEncoder
from abhinaya.config.zero_shot import Decoding
from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders import text
from abhinaya.modeling.encoders.salmonn import audio_encoders, pretrained_weights
from abhinaya.modeling.encoders.salmonn.prompt import PROMPTS, Prompt, assemble, padded_left
from abhinaya.modeling.encoders.salmonn.qformer import HOP, WINDOW, WINDOWS, SpeechTokens, covered
from abhinaya.modeling.feature_cache import FeatureCache
from abhinaya.runtime.errors import UserError


class PromptLoader:
    """Loads a clip, or its cached features, and the prompt around it."""

    def __init__(
        self,
        settings: SalmonnEncoder,
        audio: audio_encoders.AudioLoader | FeatureCache,
        prompt: Prompt,
        vocabulary: int,
        generates: bool = False,
    ) -> None:
        """
        Args:
            vocabulary: number of the LLaMA's tokens.
            generates: the prompt ends before the answer, which the LLaMA generates.
        """
        self.settings, self.audio, self.prompt = settings, audio, prompt
        self.vocabulary, self.generates = vocabulary, generates

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Add `answer`, token ids, to `rows`, and count the truncated answers.

        Raises:
            UserError: the tokenizer belongs to another model.
        """
        remarks = []
        if self.generates:
            answers = [[] for _ in range(len(rows))]
        elif self.settings.transcript:
            answers, truncated = self.prompt.answers(rows["text"].str.strip().tolist())
            if truncated:
                limit = self.prompt.max_tokens
                remarks = [f"{truncated} of {len(rows)} transcripts make more than {limit} tokens and were cut."]
        else:
            answers = self.prompt.answers()[0] * len(rows)
        tokens = [self.prompt.before, *self.prompt.after, *answers]
        text.check_tokens(tokens, self.vocabulary, self.settings.language_model)
        return rows.assign(answer=answers), remarks

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """The tensors of `AudioLoader` or `FeatureCache`, and `after` (L,): token ids of question and answer."""
        audio = self.audio.load(row, generator)
        return {**audio, "after": torch.tensor(self.prompt.question(generator) + row["answer"])}

    def size(self, row: dict[str, Any]) -> float:
        """The approximate number of LLaMA's input tokens."""
        limits = self.settings.audio_encoder
        seconds = min(max(row["duration"], limits.min_seconds), limits.max_seconds)
        return seconds * RATE / (HOP * WINDOW) + len(row["answer"])


class SpeechLlm(nn.Module):
    """Q-Former and LLaMA with LoRA, after the audio encoders unless their features are cached.

    Trained: layer norms, Q-Former, projection, LoRA.
    """

    random_parts = ()  # random BEATs, always the same, are not stored, since feature caches do not contain them
    causal: PreTrainedModel  # `model` with its output layer, if it generates text

    def __init__(
        self,
        audio_encoder: audio_encoders.DualAudioEncoder | None,
        widths: dict[str, int],
        llama: text.TextModule,
        before: list[int],
        settings: SalmonnEncoder,
    ) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.speech = SpeechTokens(widths["speech"], widths["audio"], llama.width, settings.qformer)
        self.model, self.is_causal = llama.model, llama.is_causal
        self.width = llama.width
        self.revisions = llama.revisions
        self.head: dict[str, Tensor] = {}  # of the authors' fine-tuned checkpoints
        self.register_buffer("before", torch.tensor(before), persistent=False)

    def forward(self, after: Tensor, after_lengths: Tensor, **audio: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of `PromptLoader` -> LLaMA's last hidden states (B, L, H) and lengths (B,)."""
        inputs, lengths = self.read(after, after_lengths, **audio)
        mask = text.padding_mask(self.is_causal, inputs, lengths)
        return self.model(inputs_embeds=inputs, attention_mask=mask).last_hidden_state, lengths

    def read(self, after: Tensor, after_lengths: Tensor, **audio: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of `PromptLoader` -> LLaMA's inputs (B, L, H), padded on the right, and lengths (B,)."""
        if self.audio_encoder is not None:
            audio = self.audio_encoder(**audio)
        windows = audio["speech_lengths"] // WINDOW
        speech = self.speech(audio["speech"], audio["audio"], audio["audio_lengths"], windows)
        return assemble(self.model.get_input_embeddings(), self.before, speech, (after, after_lengths))

    def answer(
        self, after: Tensor, after_lengths: Tensor, decoding: Decoding, end: int, **audio: Tensor
    ) -> tuple[list[list[int]], list[int]]:
        """A batch of a `PromptLoader` that `generates` -> token ids of the answers, and lengths of the prompts.

        An answer ends with the token `end`, or after `decoding.max_new_tokens`.
        """
        inputs, lengths = self.read(after, after_lengths, **audio)
        inputs, mask = padded_left(inputs, lengths)
        # Replaces the model's own, from which transformers would take missing settings.
        self.causal.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=decoding.beams,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=end,
            pad_token_id=end,
            use_cache=True,
        )
        answers = self.causal.generate(inputs_embeds=inputs, attention_mask=mask).tolist()
        return [ids[: ids.index(end) + 1] if end in ids else ids for ids in answers], lengths.tolist()


def build(
    settings: SalmonnEncoder,
    seed: int,
    device: torch.device,
    bf16: bool,
    features: Sequence[Path] = (),
    question: str | None = None,
) -> tuple[PromptLoader, SpeechLlm]:
    """The loader and the encoder for `settings`.

    Args:
        bf16: keep the LLaMA in bf16.
        features: shards of cached features, with `audio_encoder.cache`; otherwise they are computed for each clip.
        question: to be answered with generated text (`SpeechLlm.answer`).

    Raises:
        UserError: a part is missing or of another kind; the parts do not fit together; `features` contradicts
            `audio_encoder.cache`; a prompt may be longer than LLaMA's limit.
    """
    if settings.audio_encoder.cache and not features:
        raise UserError(
            "`audio_encoder.cache` is true: give the output of extract_features.py as --features, or set it to false"
        )
    if features and not settings.audio_encoder.cache:
        raise UserError("--features: not used with `audio_encoder.cache: false`; set it to true or remove the option")
    if features:
        audio = FeatureCache(features, SalmonnFeatures(family="salmonn", encoder=settings.audio_encoder))
        audio_encoder, widths, revision = None, audio.widths, audio.revision
    else:
        audio, audio_encoder = audio_encoders.build(settings.audio_encoder)
        widths, revision = audio_encoder.widths, audio_encoder.revisions.get("revision")
    generates = question is not None
    shared = settings.model_dump(include={"revision", "layer", "lora", "quantization"})
    language_model = TextEncoder(model=settings.language_model, **shared)
    tokenizer, llama = text.load(language_model, seed, device, bf16, generates)
    prompt = Prompt(tokenizer, settings.max_text_tokens, [question] if generates else PROMPTS)
    _check_length(settings, prompt, text.max_length(llama.model), generates)
    set_seed(seed)  # the Q-Former does not depend on how many random numbers LoRA used
    encoder = SpeechLlm(audio_encoder, widths, llama, prompt.before, settings)
    extracted = settings.audio_encoder.model_dump(mode="json") | {"revision": revision}
    encoder.revisions = encoder.revisions | {"audio_encoder": extracted}
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        weights, encoder.head = pretrained_weights.load(settings.checkpoint, trained)
        encoder.load_state_dict(weights, strict=False)
    if generates:
        encoder.causal = llama.causal  # after the checkpoint, since it gives LLaMA's weights a second name
        if encoder.head:
            raise UserError(
                f"{settings.checkpoint}: fine-tuned as a classifier, so it cannot generate text; use SALMONN's own "
                "checkpoint"
            )
    vocabulary = llama.model.get_input_embeddings().num_embeddings
    return PromptLoader(settings, audio, prompt, vocabulary, generates), encoder


def _check_length(settings: SalmonnEncoder, prompt: Prompt, limit: float, generates: bool) -> None:
    """Refuse settings that truncate the fixed answer, or allow more input tokens than LLaMA's `limit`."""
    encoder, max_text_tokens = settings.audio_encoder, settings.max_text_tokens
    reads_transcript = settings.transcript and not generates
    fixed = [] if reads_transcript or generates else Prompt(prompt.tokenizer).answers()[0][0]
    if len(fixed) > max_text_tokens:
        raise UserError(
            f"encoder: `max_text_tokens` {max_text_tokens} truncates the fixed answer of S2; raise it to {len(fixed)}"
        )
    clip_only = encoder.speech_window == "clip"
    windows = covered(round(encoder.max_seconds * RATE)) if clip_only else WINDOWS
    answer = max_text_tokens if reads_transcript else len(fixed)
    tokens = len(prompt.before) + windows + max(map(len, prompt.after)) + answer
    if tokens > limit:
        keys = ["`max_text_tokens`"] * reads_transcript + ["`audio_encoder.max_seconds`"] * clip_only
        fix = f"lower {' or '.join(keys)}" if keys else "use a language model with a higher limit"
        raise UserError(
            f"encoder {settings.language_model!r}: its limit is {limit} tokens, but question, {windows} speech tokens "
            f"and answer may be {tokens}; {fix}"
        )
