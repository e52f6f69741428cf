"""The input of SALMONN's LLaMA: a question around the speech tokens, then the answer, which may contain the transcript.

``[BOS] USER: <Speech> {speech tokens} </Speech> {PROMPT}\\nASSISTANT: {answer} [EOS]``, with the authors' wording.
For a classifier the answer is given, and the head pools the hidden states of the complete sequence. A zero-shot system
generates the answer.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from abhinaya.modeling.encoders.text import token_ids
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
    """The parts of the text as token ids. Each part is tokenized separately, as in the original."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int = 300, prompts: Sequence[str] = PROMPTS
    ) -> None:
        """
        Raises:
            UserError: the tokenizer has no start token or no end token.
        """
        for kind, token in (("start", tokenizer.bos_token_id), ("end", tokenizer.eos_token_id)):
            if token is None:
                raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no {kind} token; use a LLaMA")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.before = [tokenizer.bos_token_id, *self._tokens([BEFORE])[0]]
        self.after = self._tokens([AFTER.format(prompt) for prompt in prompts])

    def answers(self, transcripts: Sequence[str] | None = None) -> tuple[list[list[int]], int]:
        """Token ids of the answers, and how many of them were truncated to `max_tokens`.

        One answer for each transcript; without transcripts, the fixed answer of S2. Truncation removes the end token,
        as in the original.
        """
        texts = [ANSWER] if transcripts is None else [TRANSCRIPT.format(text) for text in transcripts]
        tokens = [[*ids, self.tokenizer.eos_token_id] for ids in self._tokens(texts)]
        truncated = sum(len(ids) > self.max_tokens for ids in tokens)
        return [ids[: self.max_tokens] for ids in tokens], truncated

    def question(self, generator: np.random.Generator | None = None) -> list[int]:
        """Token ids of the text after the speech: a random prompt, or the first one without a `generator`."""
        return self.after[0 if generator is None else int(generator.integers(len(self.after)))]

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return token_ids(self.tokenizer, texts, add_special_tokens=False)


def assemble(
    embedding: nn.Embedding, before: Tensor, speech: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """LLaMA's inputs: the parts of each clip without gaps, padded only on the right.

    The result for a clip does not depend on the other clips of its batch: the model is causal, and positions are 0, 1,
    2, … as for a single clip. (The original pads between prompt and answer, and its positions include the padding.)

    Args:
        embedding: of the language model's tokens.
        before: token ids (P,), the same for all clips.
        speech: speech tokens as vectors (B, S, H), and their number without padding (B,).
        after: token ids (B, T) of question and answer, and their number without padding (B,).

    Returns:
        inputs_embeds (B, L, H), zero in the padding, in the embedding's precision; and lengths (B,)
    """
    vectors, speech_lengths = speech
    tokens, token_lengths = after
    start = embedding(before.expand(len(tokens), -1))
    joined = torch.cat([start, vectors.to(start.dtype), embedding(tokens)], dim=1)
    no_padding = torch.zeros_like(start[..., 0], dtype=bool)
    padding = torch.cat([no_padding, _padding(vectors, speech_lengths), _padding(tokens, token_lengths)], dim=1)
    lengths = padding.logical_not().sum(1)
    order = padding.long().argsort(dim=1, stable=True)[:, : int(lengths.max())]  # moves the padding to the end
    rows = torch.arange(len(order), device=order.device)[:, None]
    return joined[rows, order].masked_fill(padding[rows, order][..., None], 0.0), lengths


def padded_left(inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The result of `assemble` with the padding moved to the left, as generation requires, and its mask (B, L).

    Generated tokens then directly follow the end of each clip; transformers derives positions from the mask.
    """
    count = inputs.shape[1]
    padding = (count - lengths)[:, None]
    positions = torch.arange(count, device=inputs.device)
    rows = torch.arange(len(inputs), device=inputs.device)[:, None]
    return inputs[rows, (positions - padding) % count], (positions >= padding).long()


def _padding(padded: Tensor, lengths: Tensor) -> Tensor:
    """(B, T): whether a position of `padded` (B, T, …) is padding."""
    return torch.arange(padded.shape[1], device=padded.device) >= lengths[:, None]
