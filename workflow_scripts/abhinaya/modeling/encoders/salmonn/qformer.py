"""From Whisper's and BEATs' features to input tokens of LLaMA: SALMONN's window-level Q-Former (Tang et al. 2024).

The Q-Former is BLIP-2's, in transformers: BERT-base reduced to two layers, each with cross-attention. It is applied to
windows of a third of a second.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders.base import new_model
from abhinaya.runtime.errors import UserError

WINDOW = 17  # frames: round(1500 * 0.333333 s / 30 s), the kernel and the stride of SALMONN's unfold
WINDOWS = 1500 // WINDOW  # in Whisper's 30 s; the last 4 frames are not used
HOP = RATE // 50  # samples between frames, of Whisper and of BEATs
SALMONN = {"num_hidden_layers": 2, "cross_attention_frequency": 1}


def covered(samples: Tensor | int) -> Tensor | int:
    """The number of windows (1 to 88) that cover clips of so many samples (`speech_window: clip`)."""
    windows = -(-samples // (HOP * WINDOW))
    return min(windows, WINDOWS) if isinstance(windows, int) else windows.clamp(max=WINDOWS)


class SpeechTokens(nn.Module):
    """Layer norms, one trained query per window, projection to the language model's width.

    All weights are trained: 22.8 million in the Q-Former, about 3 million in the rest (SALMONN 7B).
    """

    def __init__(
        self, speech_width: int, audio_width: int, width: int, architecture: dict[str, Any] | None = None
    ) -> None:
        """
        Args:
            speech_width, audio_width, width: of Whisper's vectors, of BEATs' vectors, of the language model's
                embeddings.
            architecture: differences from SALMONN's Q-Former, in the keys of `Blip2QFormerConfig`.

        Raises:
            UserError: `architecture` is invalid.
        """
        super().__init__()
        self.ln_speech = nn.LayerNorm(speech_width)
        self.ln_audio = nn.LayerNorm(audio_width)
        architecture = architecture or {}
        if "encoder_hidden_size" in architecture:
            raise UserError("encoder.qformer: encoder_hidden_size follows from Whisper and BEATs; remove it")
        settings = SALMONN | architecture | {"encoder_hidden_size": speech_width + audio_width}
        self.qformer = new_model("encoder.qformer", Blip2QFormerConfig(), settings, Blip2QFormerModel)
        config = self.qformer.config
        self.query_tokens = nn.Parameter(torch.empty(1, 1, config.hidden_size).normal_(0.0, config.initializer_range))
        self.projection = nn.Linear(config.hidden_size, width)

    def forward(
        self, speech: Tensor, audio: Tensor, audio_lengths: Tensor, windows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One token for each window of 17 frames.

        Whisper's input is always 30 s, from which the original makes 88 tokens. `windows` (B,) is the number of tokens
        to keep of each clip; tokens beyond the maximum of the batch are not computed.

        Args:
            speech: (B, S, Whisper's width) at 50 Hz, S = 1500, or at least the frames of the windows.
            audio: (B, T, BEATs' width) at 50 Hz; frames after `audio_lengths` (B,) are padding.

        Returns:
            tokens (B, 88 or max(windows), H), and their number without padding (B,)
        """
        if windows is None:
            windows = torch.full_like(audio_lengths, speech.shape[1] // WINDOW)
        count = int(windows.max())
        frames = count * WINDOW
        # BEATs' input is not padded to 30 s. Zeros are appended after the norm, which would change them to its bias.
        audio = _normed(audio[:, :frames], self.ln_audio)
        padding = torch.arange(audio.shape[1], device=audio.device) >= audio_lengths[:, None]
        audio = pad(audio.masked_fill(padding[..., None], 0.0), (0, 0, 0, frames - audio.shape[1]))
        features = torch.cat([_normed(speech[:, :frames], self.ln_speech), audio], dim=-1)
        features = features.reshape(-1, WINDOW, features.shape[-1])
        queries = self.query_tokens.expand(len(features), -1, -1)
        tokens = self.qformer(query_embeds=queries, encoder_hidden_states=features).last_hidden_state
        return self.projection(tokens).reshape(len(speech), count, -1), windows


def _normed(vectors: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm(vectors.to(norm.weight.dtype))  # stored features may be half precision
