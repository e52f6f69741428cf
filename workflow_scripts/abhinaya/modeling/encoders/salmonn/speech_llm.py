"""SALMONN as an encoder (S2, ST1): what was heard becomes tokens that a LLaMA reads, between question and answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, set_seed

from abhinaya.config import Decoding, SalmonnEncoder, TextEncoder
from abhinaya.data.audio import RATE
from abhinaya.data.schemas import KEY
from abhinaya.modeling.encoders import text
from abhinaya.modeling.encoders.salmonn import audio_encoders, feature_cache, pretrained_weights
from abhinaya.modeling.encoders.salmonn.prompt import PROMPTS, Prompt, assemble, flushed_right
from abhinaya.modeling.encoders.salmonn.qformer import WINDOW, WINDOWS, SpeechTokens, covered
from abhinaya.runtime.errors import UserError


class Interviews:
    """Loads a clip, or what was heard of it before, and the question about it."""

    def __init__(
        self,
        settings: SalmonnEncoder,
        sound: "audio_encoders.Clips | feature_cache.Heard",
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
        """What `hearing.Clips` or `hearing.Heard` load, and `after` (L,): token ids of question and answer."""
        heard_before = isinstance(self.sound, feature_cache.Heard)
        sound = self.sound.load(row[KEY]) if heard_before else self.sound.load(row, generator)
        return {**sound, "after": torch.tensor(self.prompt.question(generator) + row["answer"])}

    def size(self, row: dict[str, Any]) -> float:
        """Tokens that LLaMA reads, or nearly."""
        seconds = min(max(row["duration"], self.settings.hearing.min_seconds), self.settings.hearing.max_seconds)
        return seconds * RATE / (audio_encoders.HOP * WINDOW) + len(row["answer"])


class Questions(Interviews):
    """As `Interviews`, but the answer is for the model to give."""

    def _answers(self, rows: pd.DataFrame) -> tuple[list[list[int]], list[str]]:
        return [[] for _ in range(len(rows))], []


class SpeechLlm(nn.Module):
    """Q-Former and LLaMA with LoRA, behind the ears unless they heard before.

    Trained: layer norms, Q-Former, projection, LoRA.
    """

    drawn = ()  # random BEATs are drawn again, always the same, as a cache leaves them to be

    def __init__(
        self,
        ears: "audio_encoders.Ears | None",
        widths: dict[str, int],
        llama: text.TextModule,
        before: list[int],
        settings: SalmonnEncoder,
    ) -> None:
        super().__init__()
        self.ears = ears
        self.speech = SpeechTokens(widths["heard"], widths["sounds"], llama.width, settings.qformer)
        self.model = llama.model
        self.width = llama.width
        self.revisions = llama.revisions
        self.head: dict[str, Tensor] = {}  # of the authors' fine-tuned checkpoints
        self.register_buffer("before", torch.tensor(before), persistent=False)

    def forward(self, after: Tensor, after_lengths: Tensor, **sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `Interviews` loads, padded -> LLaMA's last vectors (B, L, H), after its final norm, and lengths (B,)."""
        inputs, lengths = self.read(after, after_lengths, **sound)
        mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
        return self.model(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state, lengths

    def read(self, after: Tensor, after_lengths: Tensor, **sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `Interviews` loads, padded -> LLaMA's inputs (B, L, H), padded on the right, and lengths (B,)."""
        if self.ears is not None:
            sound = self.ears(**sound)
        windows = sound["heard_lengths"] // WINDOW
        spoken = self.speech(sound["heard"], sound["sounds"], sound["sounds_lengths"], windows)
        return assemble(self.model.get_input_embeddings(), self.before, spoken, (after, after_lengths))


class AnsweringLlm(SpeechLlm):
    """A speech LLM with the output layer, which answers the question in words."""

    causal: PreTrainedModel  # `model` and its output layer

    def answer(
        self, after: Tensor, after_lengths: Tensor, decoding: Decoding, end: int, **sound: Tensor
    ) -> tuple[list[list[int]], list[int]]:
        """What `Questions` loads, padded -> the likeliest answers' token ids, and how many each was asked with.

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
    heard: Sequence[Path] = (),
    question: str | None = None,
) -> tuple[Interviews, SpeechLlm]:
    """The loader and the encoder for `settings`; the LLaMA is held in bf16 if computing is.

    Args:
        heard: shards of what was heard before, with `hearing.cache`; else Whisper and BEATs hear each clip.
        question: to be answered in words, by an `AnsweringLlm` that gets `Questions`.

    Raises:
        UserError: a part is absent or of another kind, or the parts do not belong together; `heard` does not fit
            `hearing.cache`; a prompt may be longer than the LLaMA reads.
    """
    if settings.hearing.cache and not heard:
        raise UserError("`hearing.cache` is true: give --heard what hear.py wrote, or set it to false")
    if heard and not settings.hearing.cache:
        raise UserError("--heard: given, but `hearing.cache` is false; set it to true or give none")
    if not heard:
        sound, ears, revision = audio_encoders.build(settings.hearing)
        widths = ears.widths
    else:
        sound, ears = feature_cache.Heard(list(heard), settings.hearing), None
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
    loads, kind = (Interviews, SpeechLlm) if question is None else (Questions, AnsweringLlm)
    encoder = kind(ears, widths, llama, prompt.before, settings)
    told = settings.hearing.model_dump(mode="json") | {"revision": revision}
    encoder.revisions = encoder.revisions | {"hearing": told}
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
    reads, hears, most = settings.transcript and not answers, settings.hearing, settings.max_text_tokens
    if not reads and not answers and len(fixed) > most:
        raise UserError(
            f"encoder: `max_text_tokens` {most} cuts the answer that S2 has for all clips; raise it to {len(fixed)}"
        )
    clip_alone = hears.speech_window == "clip"
    windows = covered(round(hears.max_seconds * RATE)) if clip_alone else WINDOWS
    behind = 0 if answers else most if reads else len(fixed)
    whole = len(prompt.before) + windows + max(map(len, prompt.after)) + behind
    if whole > longest:
        keys = ["`max_text_tokens`"] * reads + ["`hearing.max_seconds`"] * clip_alone
        fix = f"lower {' or '.join(keys)}" if keys else "take a language model that reads more"
        raise UserError(
            f"encoder {settings.language_model!r}: reads at most {longest} tokens, but question, {windows} of speech "
            f"and answer may be {whole}; {fix}"
        )
