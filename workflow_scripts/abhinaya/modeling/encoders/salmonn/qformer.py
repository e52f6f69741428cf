"""From Whisper's and BEATs' features to tokens that LLaMA reads: SALMONN's window-level Q-Former (Tang et al. 2024).

The Q-Former is BLIP-2's, in transformers: BERT-base cut to two layers, each with cross-attention. It looks at a third
of a second at a time.
"""

from difflib import get_close_matches
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from abhinaya.data.audio import RATE
from abhinaya.runtime.errors import UserError

WINDOW = 17  # frames: round(1500 * 0.333333 s / 30 s), the kernel and the stride of SALMONN's unfold
WINDOWS = 1500 // WINDOW  # in Whisper's 30 s; the last 4 frames are dropped
HOP = RATE // 50  # samples between frames, of Whisper and of BEATs
SALMONN = {"num_hidden_layers": 2, "cross_attention_frequency": 1}


def covered(samples: Tensor | int) -> Tensor | int:
    """How many windows clips of so many samples, at least one, reach into: 1 to 88 (`speech_window: clip`)."""
    windows = -(-samples // (HOP * WINDOW))
    return min(windows, WINDOWS) if isinstance(windows, int) else windows.clamp(max=WINDOWS)


class SpeechTokens(nn.Module):
    """Layer norms, one learnt query per window, projection to the language model's width.

    Trained as a whole: 22.8 million weights in the Q-Former, some 3 million in the rest (SALMONN 7B).
    """

    def __init__(
        self, speech_width: int, audio_width: int, width: int, architecture: dict[str, Any] | None = None
    ) -> None:
        """
        Args:
            speech_width, audio_width, width: of Whisper's vectors, of BEATs', of the language model's embeddings.
            architecture: what differs from SALMONN's Q-Former, in the keys of `Blip2QFormerConfig`.

        Raises:
            UserError: an `architecture` that is none.
        """
        super().__init__()
        self.ln_speech = nn.LayerNorm(speech_width)
        self.ln_audio = nn.LayerNorm(audio_width)
        self.qformer = _qformer(architecture or {}, speech_width + audio_width)
        config = self.qformer.config
        self.query_tokens = nn.Parameter(torch.empty(1, 1, config.hidden_size).normal_(0.0, config.initializer_range))
        self.projection = nn.Linear(config.hidden_size, width)

    def forward(
        self, speech: Tensor, audio: Tensor, audio_lengths: Tensor, windows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One token for each window of 17 frames.

        Whisper hears 30 s whatever the clip's length, and the original makes 88 tokens of it. `windows` (B,) tells
        how many of the first to keep of each clip; none is computed beyond the batch's longest.

        Args:
            speech: (B, S, Whisper's width) at 50 Hz, S = 1500, or at least what the windows span.
            audio: (B, T, BEATs' width) at 50 Hz, of which the first `audio_lengths` (B,) are real.

        Returns:
            tokens (B, 88 or max(windows), H) and how many of them are a clip's own (B,)
        """
        if windows is None:
            windows = torch.full_like(audio_lengths, speech.shape[1] // WINDOW)
        count = int(windows.max())
        frames = count * WINDOW
        # BEATs hears the clip alone. Zeros go behind its end, after the norm, which would turn them into its bias.
        audio = _normed(audio[:, :frames], self.ln_audio)
        beyond = torch.arange(audio.shape[1], device=audio.device) >= audio_lengths[:, None]
        audio = pad(audio.masked_fill(beyond[..., None], 0.0), (0, 0, 0, frames - audio.shape[1]))
        features = torch.cat([_normed(speech[:, :frames], self.ln_speech), audio], dim=-1)
        features = features.reshape(-1, WINDOW, features.shape[-1])
        queries = self.query_tokens.expand(len(features), -1, -1)
        found = self.qformer(query_embeds=queries, encoder_hidden_states=features).last_hidden_state
        return self.projection(found).reshape(len(speech), count, -1), windows


def _qformer(architecture: dict[str, Any], features: int) -> Blip2QFormerModel:
    """With `features` numbers in each frame that it looks at."""
    if "encoder_hidden_size" in architecture:
        raise UserError("encoder.qformer: encoder_hidden_size follows from Whisper and BEATs; remove it")
    known = Blip2QFormerConfig().to_dict().keys()
    for key in architecture.keys() - known:
        close = get_close_matches(key, known, n=1)
        fix = f"did you mean {close[0]}?" if close else "see transformers' Blip2QFormerConfig"
        raise UserError(f"encoder.qformer: no key {key}; {fix}")
    try:
        return Blip2QFormerModel(Blip2QFormerConfig(**SALMONN | architecture, encoder_hidden_size=features))
    except (ArithmeticError, LookupError, RuntimeError, StrictDataclassError, TypeError, ValueError) as error:
        raise UserError(f"encoder.qformer: makes no model ({' '.join(str(error).split())}); correct it") from None


def _normed(vectors: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm(vectors.to(norm.weight.dtype))  # stored features may be half precision
