"""SALMONN as an encoder (S2, ST1): a clip's features become tokens that a LLaMA reads, between question and answer."""

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
from abhinaya.modeling.encoders.salmonn.prompt import PROMPTS, Prompt, assemble, flushed_right
from abhinaya.modeling.encoders.salmonn.qformer import WINDOW, WINDOWS, SpeechTokens, covered
from abhinaya.modeling.feature_cache import FeatureCache
from abhinaya.runtime.errors import UserError


class PromptLoader:
    """Loads a clip, or its cached features, and the prompt around it."""

    def __init__(
        self,
        settings: SalmonnEncoder,
        sound: audio_encoders.AudioLoader | FeatureCache,
        prompt: Prompt,
        vocabulary: int,
    ) -> None:
        """
        Args:
            vocabulary: how many pieces the LLaMA knows.
        """
        self.settings, self.sound, self.prompt, self.vocabulary = settings, sound, prompt, vocabulary

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Add `answer`, token ids, to `rows`, and count the answers that are cut.

        Raises:
            UserError: the tokenizer is another model's.
        """
        answers, remarks = self._answers(rows)
        pieces = [self.prompt.before, *self.prompt.after, *answers]
        text.check_known(pieces, self.vocabulary, self.settings.language_model)
        return rows.assign(answer=answers), remarks

    def _answers(self, rows: pd.DataFrame) -> tuple[list[list[int]], list[str]]:
        if not self.settings.transcript:
            (answer,), _ = self.prompt.answers()
            return [answer] * len(rows), []
        answers, cut = self.prompt.answers(rows["text"].str.strip().tolist())
        most = self.prompt.max_tokens
        remarks = [f"{cut} of {len(rows)} transcripts make more than {most} tokens and were cut."] if cut else []
        return answers, remarks

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """What `AudioLoader` or `FeatureCache` load, and `after` (L,): token ids of question and answer."""
        sound = self.sound.load(row, generator)
        return {**sound, "after": torch.tensor(self.prompt.question(generator) + row["answer"])}

    def size(self, row: dict[str, Any]) -> float:
        """Tokens that LLaMA reads, or nearly."""
        seconds = min(
            max(row["duration"], self.settings.audio_encoder.min_seconds), self.settings.audio_encoder.max_seconds
        )
        return seconds * RATE / (audio_encoders.HOP * WINDOW) + len(row["answer"])


class GenerationPromptLoader(PromptLoader):
    """As `PromptLoader`, but the answer is for the model to give."""

    def _answers(self, rows: pd.DataFrame) -> tuple[list[list[int]], list[str]]:
        return [[] for _ in range(len(rows))], []


class SpeechLlm(nn.Module):
    """Q-Former and LLaMA with LoRA, behind the audio encoders unless their features are cached.

    Trained: layer norms, Q-Former, projection, LoRA.
    """

    random_parts = ()  # random BEATs are drawn again, always the same, as a cache leaves them to be

    def __init__(
        self,
        audio_encoder: "audio_encoders.DualAudioEncoder | None",
        widths: dict[str, int],
        llama: text.TextModule,
        before: list[int],
        settings: SalmonnEncoder,
    ) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.speech = SpeechTokens(widths["speech"], widths["audio"], llama.width, settings.qformer)
        self.model = llama.model
        self.width = llama.width
        self.revisions = llama.revisions
        self.head: dict[str, Tensor] = {}  # of the authors' fine-tuned checkpoints
        self.register_buffer("before", torch.tensor(before), persistent=False)

    def forward(self, after: Tensor, after_lengths: Tensor, **sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `PromptLoader` loads, padded -> LLaMA's final hidden states (B, L, H) and lengths (B,)."""
        inputs, lengths = self.read(after, after_lengths, **sound)
        mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
        return self.model(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state, lengths

    def read(self, after: Tensor, after_lengths: Tensor, **sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `PromptLoader` loads, padded -> LLaMA's inputs (B, L, H), padded on the right, and lengths (B,)."""
        if self.audio_encoder is not None:
            sound = self.audio_encoder(**sound)
        windows = sound["speech_lengths"] // WINDOW
        spoken = self.speech(sound["speech"], sound["audio"], sound["audio_lengths"], windows)
        return assemble(self.model.get_input_embeddings(), self.before, spoken, (after, after_lengths))


class GeneratingSpeechLlm(SpeechLlm):
    """A speech LLM with the output layer, which answers the question in words."""

    causal: PreTrainedModel  # `model` and its output layer

    def answer(
        self, after: Tensor, after_lengths: Tensor, decoding: Decoding, end: int, **sound: Tensor
    ) -> tuple[list[list[int]], list[int]]:
        """What `GenerationPromptLoader` loads, padded -> token ids of the answers and of each prompt how many.

        An answer goes on to the token `end`, which is its last one, or to `decoding.max_new_tokens`.
        """
        inputs, lengths = self.read(after, after_lengths, **sound)
        inputs, mask = flushed_right(inputs, lengths)
        # In place of the model's own, of which transformers would take over what is not given here.
        self.causal.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=decoding.beams,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=end,
            pad_token_id=end,
            use_cache=True,
        )
        found = self.causal.generate(inputs_embeds=inputs, attention_mask=mask).tolist()
        return [ids[: ids.index(end) + 1] if end in ids else ids for ids in found], lengths.tolist()


def build(
    settings: SalmonnEncoder,
    seed: int,
    device: torch.device,
    bf16: bool,
    features: Sequence[Path] = (),
    question: str | None = None,
) -> tuple[PromptLoader, SpeechLlm]:
    """The loader and the encoder for `settings`; the LLaMA is held in bf16 if computing is.

    Args:
        features: shards of cached features, with `audio_encoder.cache`; else they are computed for each clip.
        question: to be answered in words, by a `GeneratingSpeechLlm` that gets what `GenerationPromptLoader` loads.

    Raises:
        UserError: a part is absent or of another kind, or the parts do not belong together; `features` does not fit
            `audio_encoder.cache`; a prompt may be longer than the LLaMA reads.
    """
    if settings.audio_encoder.cache and not features:
        raise UserError(
            "`audio_encoder.cache` is true: give --features what extract_features.py wrote, or set it to false"
        )
    if features and not settings.audio_encoder.cache:
        raise UserError("--features: given, but `audio_encoder.cache` is false; set it to true or give none")
    if not features:
        sound, audio_encoder = audio_encoders.build(settings.audio_encoder)
        widths, revision = audio_encoder.widths, audio_encoder.revisions.get("revision")
    else:
        heard = SalmonnFeatures(family="salmonn", encoder=settings.audio_encoder)
        sound, audio_encoder = FeatureCache(list(features), heard), None
        widths, revision = sound.widths, sound.revision
    tokenizer, llama = text.load(
        TextEncoder(
            model=settings.language_model,
            revision=settings.revision,
            layer=settings.layer,
            lora=settings.lora,
            quantization=settings.quantization,
        ),
        seed,
        device,
        bf16,
        generates=question is not None,
    )
    prompt = Prompt(tokenizer, settings.max_text_tokens, PROMPTS if question is None else [question])
    _check_length(settings, prompt, text.longest(llama.model), answers=question is not None)
    set_seed(seed)  # the Q-Former does not depend on how many numbers LoRA drew
    loads, kind = (PromptLoader, SpeechLlm) if question is None else (GenerationPromptLoader, GeneratingSpeechLlm)
    encoder = kind(audio_encoder, widths, llama, prompt.before, settings)
    told = settings.audio_encoder.model_dump(mode="json") | {"revision": revision}
    encoder.revisions = encoder.revisions | {"audio_encoder": told}
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        weights, encoder.head = pretrained_weights.load(settings.checkpoint, trained)
        encoder.load_state_dict(weights, strict=False)
    if question is not None:
        encoder.causal = llama.causal  # after the checkpoint: LLaMA's weights have two names from here on
        if encoder.head:
            raise UserError(f"{settings.checkpoint}: fine-tuned as a classifier, answers nothing; give SALMONN's own")
    return loads(settings, sound, prompt, llama.model.get_input_embeddings().num_embeddings), encoder


def _check_length(settings: SalmonnEncoder, prompt: Prompt, longest: float, answers: bool) -> None:
    """Refuse settings that cut the fixed answer, or with which LLaMA may get more tokens than the `longest` it reads.

    Args:
        answers: the LLaMA does so itself; nothing stands behind the question.
    """
    (fixed,), _ = Prompt(prompt.tokenizer).answers()
    reads, hears, most = settings.transcript and not answers, settings.audio_encoder, settings.max_text_tokens
    if not reads and not answers and len(fixed) > most:
        raise UserError(
            f"encoder: `max_text_tokens` {most} cuts the answer that S2 has for all clips; raise it to {len(fixed)}"
        )
    clip_alone = hears.speech_window == "clip"
    windows = covered(round(hears.max_seconds * RATE)) if clip_alone else WINDOWS
    behind = 0 if answers else most if reads else len(fixed)
    whole = len(prompt.before) + windows + max(map(len, prompt.after)) + behind
    if whole > longest:
        keys = ["`max_text_tokens`"] * reads + ["`audio_encoder.max_seconds`"] * clip_alone
        fix = f"lower {' or '.join(keys)}" if keys else "take a language model that reads more"
        raise UserError(
            f"encoder {settings.language_model!r}: reads at most {longest} tokens, but question, {windows} of speech "
            f"and answer may be {whole}; {fix}"
        )
