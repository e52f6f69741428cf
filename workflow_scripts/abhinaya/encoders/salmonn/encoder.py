"""SALMONN as an encoder (S2, ST1): what was heard becomes tokens that a LLaMA reads, between question and answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import set_seed

from abhinaya.audio import RATE
from abhinaya.config import RANDOM, SalmonnEncoder, TextEncoder
from abhinaya.encoders import text
from abhinaya.encoders.salmonn import checkpoint, hearing
from abhinaya.encoders.salmonn.prompt import Prompt, assemble
from abhinaya.encoders.salmonn.qformer import WINDOW, SpeechTokens
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
        self.speech = SpeechTokens(widths["heard"], widths["sounds"], llama.width)
        self.model = llama.model
        self.width = llama.width
        self.drawn = ("ears.beats.",) if ears and settings.hearing.beats.startswith(RANDOM) else ()
        self.revisions = llama.revisions
        self.head: dict[str, Tensor] = {}  # of the authors' fine-tuned checkpoints
        self.register_buffer("before", torch.tensor(before), persistent=False)

    def forward(self, after: Tensor, after_lengths: Tensor, **sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `Interviews` loads, padded -> LLaMA's last vectors (B, L, H), after its final norm, and lengths (B,)."""
        if self.ears is not None:
            sound = self.ears(**sound)
        windows = sound["heard_lengths"] // WINDOW
        spoken = self.speech(sound["heard"], sound["sounds"], sound["sounds_lengths"], windows)
        inputs, lengths = assemble(self.model.get_input_embeddings(), self.before, spoken, (after, after_lengths))
        mask = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
        return self.model(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state, lengths


def build(
    settings: SalmonnEncoder, seed: int, device: torch.device, bf16: bool, heard: Sequence[Path] = ()
) -> tuple[Interviews, SpeechLlm]:
    """The loader and the encoder for `settings`; the LLaMA is held in bf16 if computing is.

    Args:
        heard: shards of what was heard before; without any Whisper and BEATs are loaded and hear each clip.

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
    )
    prompt = Prompt(reader.tokenizer, settings.max_text_tokens)
    set_seed(seed)
    encoder = SpeechLlm(ears, widths, llama, prompt.before, settings)
    told = settings.hearing.model_dump(mode="json") | {"revision": revision}
    encoder.revisions = encoder.revisions | {"hearing": told}
    if settings.checkpoint:
        trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
        weights, encoder.head = checkpoint.load(settings.checkpoint, trained)
        encoder.load_state_dict(weights, strict=False)
    return Interviews(settings, sound, prompt), encoder
