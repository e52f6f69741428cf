"""What LLaMA reads in SALMONN: a question around the speech tokens, then the answer, or the transcript after it.

``[BOS] USER: <Speech> {speech tokens} </Speech> {PROMPT}\\nASSISTANT: {answer} [EOS]``, with the authors' wordings.
For a classifier the answer is given: the hidden states of the whole sequence are what the head pools. Zero-shot it is
generated.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from abhinaya.runtime.errors import UserError

BEFORE = "USER: <Speech>"  # the tags are plain text, not special tokens
AFTER = "</Speech> {}\nASSISTANT:"
PROMPTS = (  # SALMONN's, for emotion recognition
    "Describe the emotion of the speaker in one word.",
    "Use one word to describe the speaker's emotion.",
)
ANSWER = "Describe emotion of the speaker in one word"  # ABHINAYA's S2
TRANSCRIPT = ANSWER + " <Transcript> {}"  # ABHINAYA's ST1


class Prompt:
    """The pieces of text as token ids. Each is tokenised by itself, as in the original."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int = 300, prompts: Sequence[str] = PROMPTS
    ) -> None:
        """
        Raises:
            UserError: the tokenizer has no start or no end token.
        """
        for kind, token in (("start", tokenizer.bos_token_id), ("end", tokenizer.eos_token_id)):
            if token is None:
                raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no {kind} token; use a LLaMA's")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.before = [tokenizer.bos_token_id, *self._tokens([BEFORE])[0]]
        self.after = self._tokens([AFTER.format(prompt) for prompt in prompts])

    def answers(self, transcripts: Sequence[str] | None = None) -> tuple[list[list[int]], int]:
        """Token ids of the answers, and how many of them were cut to `max_tokens`.

        One answer for each transcript; without transcripts, the one that S2 has for all. A cut takes the end token
        away, as in the original.
        """
        texts = [ANSWER] if transcripts is None else [TRANSCRIPT.format(text) for text in transcripts]
        tokens = [[*ids, self.tokenizer.eos_token_id] for ids in self._tokens(texts)]
        cut = sum(len(ids) > self.max_tokens for ids in tokens)
        return [ids[: self.max_tokens] for ids in tokens], cut

    def question(self, generator: np.random.Generator | None = None) -> list[int]:
        """Token ids of what follows the speech: one of the prompts by lot, or the first without a `generator`."""
        return self.after[0 if generator is None else int(generator.integers(len(self.after)))]

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        # A transcript that spells out a special token must not become one.
        options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return self.tokenizer(texts, **options)["input_ids"] if texts else []


def assemble(
    embedding: nn.Embedding, before: Tensor, speech: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """LLaMA's inputs: each clip's pieces one right after the other, padding on the right only.

    So no batch mate can be felt: a causal model never looks right, and positions count 0, 1, 2, … as for one clip
    alone. (The original pads between prompt and answer, and its positions count the padding.)

    Args:
        embedding: of the language model's tokens.
        before: token ids (P,), the same for all.
        speech: tokens as vectors (B, S, H), and how many of them are real (B,).
        after: token ids (B, T) of question and answer, and how many of them are real (B,).

    Returns:
        inputs_embeds (B, L, H), zeros behind each end, in the embedding's precision; and lengths (B,)
    """
    vectors, spoken = speech
    tokens, written = after
    whole = embedding(before.expand(len(tokens), -1))
    joined = torch.cat([whole, vectors.to(whole.dtype), embedding(tokens)], dim=1)
    real = torch.cat(
        [torch.ones_like(whole[..., 0], dtype=bool), _real(vectors, spoken), _real(tokens, written)], dim=1
    )
    lengths = real.sum(1)
    order = real.logical_not().long().argsort(dim=1, stable=True)[:, : int(lengths.max())]  # what is real comes first
    rows = torch.arange(len(order), device=order.device)[:, None]
    return joined[rows, order].masked_fill(~real[rows, order][..., None], 0.0), lengths


def flushed_right(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """`assemble`'s result with the padding moved to the left, where generating needs it, and the mask (B, L) of it.

    What is generated then follows right behind each clip's own end; transformers counts positions by the mask.
    """
    count = inputs.shape[1]
    padding = (count - lengths)[:, None]
    places = torch.arange(count, device=inputs.device)
    rows = torch.arange(len(inputs), device=inputs.device)[:, None]
    return inputs[rows, (places - padding) % count], (places >= padding).long()


def _real(padded: Tensor, lengths: Tensor) -> Tensor:
    """True (B, T) where `padded` (B, T, …) holds what is real."""
    return torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
