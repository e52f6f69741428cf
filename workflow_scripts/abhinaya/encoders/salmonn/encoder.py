"""SALMONN as an encoder (S2, ST1): what was heard becomes tokens that a LLaMA reads, between question and answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, set_seed

from abhinaya.audio import RATE
from abhinaya.config import RANDOM, Decoding, SalmonnEncoder, TextEncoder
from abhinaya.encoders import text
from abhinaya.encoders.salmonn import checkpoint, hearing
from abhinaya.encoders.salmonn.prompt import PROMPTS, Prompt, assemble, flushed_right
from abhinaya.encoders.salmonn.qformer import WINDOW, SpeechTokens
from abhinaya.errors import UserError
from abhinaya.tables import KEY


class Interviews:
    """Loads a clip, or what was heard of it before, and the question about it."""

    def __init__(self, settings: SalmonnEncoder, sound: "hearing.Clips | hearing.Heard", prompt: Prompt) -> None:
        self.settings, self.sound, self.prompt = settings, sound, prompt

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Add `answer`, token ids, to `rows`, and count the answers that are cut."""
        if not self.settings.transcript:
            (answer,), _ = self.prompt.answers()
            return rows.assign(answer=[answer] * len(rows)), []
        answers, cut = self.prompt.answers(rows["text"].str.strip().tolist())
        most = self.prompt.max_tokens
        remarks = [f"{cut} of {len(rows)} transcripts make more than {most} tokens and were cut."] if cut else []
        return rows.assign(answer=answers), remarks

    def load(self, row: dict[str, Any], generator: np.random.Generator | None) -> dict[str, Tensor]:
        """What `hearing.Clips` or `hearing.Heard` load, and `after` (L,): token ids of question and answer."""
        heard_before = isinstance(self.sound, hearing.Heard)
        sound = self.sound.load(row[KEY]) if heard_before else self.sound.load(row, generator)
        return {**sound, "after": torch.tensor(self.prompt.question(generator) + row["answer"])}

    def size(self, row: dict[str, Any]) -> float:
        """Tokens that LLaMA reads, or nearly."""
        seconds = min(max(row["duration"], self.settings.hearing.min_seconds), self.settings.hearing.max_seconds)
        return seconds * RATE / (hearing.HOP * WINDOW) + len(row["answer"])


class Questions(Interviews):
    """As `Interviews`, but the answer is for the model to give."""

    def prepare(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        return rows.assign(answer=[[] for _ in range(len(rows))]), []


class SpeechLlm(nn.Module):
    """Q-Former and LLaMA with LoRA, behind the ears unless they heard before.

    Trained: layer norms, Q-Former, projection, LoRA.
    """

    def __init__(
        self,
        ears: "hearing.Ears | None",
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
        self.drawn = ("ears.beats.",) if ears and settings.hearing.beats.startswith(RANDOM) else ()
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
        heard: shards of what was heard before; without any Whisper and BEATs are loaded and hear each clip.
        question: to be answered in words, by an `AnsweringLlm` that gets `Questions`.

    Raises:
        UserError: a part is absent or of another kind, or the parts do not belong together.
    """
    if not heard:
        sound, ears, revision = hearing.build(settings.hearing, seed)
        widths = ears.widths
    else:
        sound, ears = hearing.Heard(list(heard), settings.hearing), None
        widths, revision = sound.widths, sound.revision
    reader, llama = text.build(
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
    prompt = Prompt(reader.tokenizer, settings.max_text_tokens, PROMPTS if question is None else [question])
    set_seed(seed)
    loads, kind = (Interviews, SpeechLlm) if question is None else (Questions, AnsweringLlm)
    encoder = kind(ears, widths, llama, prompt.before, settings)
    told = settings.hearing.model_dump(mode="json") | {"revision": revision}
    encoder.revisions = encoder.revisions | {"hearing": told}
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        weights, encoder.head = checkpoint.load(settings.checkpoint, trained)
        encoder.load_state_dict(weights, strict=False)
    if question is not None:
        encoder.causal = llama.causal  # after the checkpoint: LLaMA's weights have two names from here on
        if encoder.head:
            raise UserError(f"{settings.checkpoint}: fine-tuned as a classifier, answers nothing; give SALMONN's own")
    return loads(settings, sound, prompt), encoder
