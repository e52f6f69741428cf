"""WavLM's self-attention through `torch.nn.functional.scaled_dot_product_attention`.

transformers computes WavLM's attention with `need_weights=True`, which excludes fused kernels and averages the weights
of all heads for an output that nothing here uses.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


class FusedWavLMAttention(WavLMAttention):
    """The same weights and the same function; the attention weights are not returned."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None, Tensor]:
        """Attend to all frames that are not padding.

        Args:
            hidden_states: (B, T, H).
            attention_mask: (B, T), true for the frames of a clip, false for padding.
            position_bias: (heads, T, T), as the first layer returned it; None in the first layer.
            kwargs: not used.

        Returns:
            Vectors (B, T, H), None and the position bias for the next layer.
        """
        if position_bias is None:
            position_bias = self.compute_bias(hidden_states.shape[1], hidden_states.shape[1])
        query, key, value = (
            self._by_head(projection(hidden_states)) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        # In the type of the query: under autocast the product would be float32, twice as large.
        bias = self._gate(hidden_states).to(query.dtype) * position_bias.to(query.dtype)
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask[:, None, None], -math.inf)
        dropout = self.dropout if self.training else 0.0
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None, position_bias

    def _by_head(self, vectors: Tensor) -> Tensor:
        """(B, T, H) -> (B, heads, T, H / heads)."""
        return vectors.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _gate(self, hidden_states: Tensor) -> Tensor:
        """The factors (B, heads, T, 1) of a frame's position bias (Chen et al. 2022, WavLM)."""
        projected = self.gru_rel_pos_linear(self._by_head(hidden_states)).unflatten(-1, (2, 4)).sum(-1)
        update, reset = torch.sigmoid(projected).chunk(2, dim=-1)
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0


def fuse(model: nn.Module) -> None:
    """Let every WavLM attention in `model` compute as `FusedWavLMAttention`; weights and their names stay."""
    for module in model.modules():
        if type(module) is WavLMAttention:
            module.__class__ = FusedWavLMAttention
