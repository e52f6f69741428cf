"""BEATs (Chen et al. 2023), the audio encoder in SALMONN, with the weight names of the published checkpoints.

It is always frozen here, so it has no dropout and no layer drop. The vectors of a clip do not depend on the other clips
of its batch. (In a batch, the original shortens its masks inexactly, by some tokens; for a single clip, both agree.)
"""

import argparse
import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, PositiveInt, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, scaled_dot_product_attention

from abhinaya.data.audio import RATE
from abhinaya.modeling.encoders.salmonn.filterbank import HOP, MELS, WINDOW, filter_bank
from abhinaya.pretrained.loading import check_weights, read_checkpoint, unwrapped
from abhinaya.runtime.errors import UserError

PATCH = 16  # frames, and mel bands
BANDS = MELS // PATCH  # tokens of the same 160 ms
MIN_SAMPLES = WINDOW + (PATCH - 1) * HOP
UNUSED = {"predictor.weight", "predictor.bias"}  # classifier of AudioSet's classes, only in fine-tuned checkpoints


class Config(BaseModel, frozen=True):
    """The keys of a checkpoint's `cfg` that define the architecture; defaults as in the original (BEATsConfig)."""

    embed_dim: PositiveInt = 512  # of a patch
    encoder_layers: PositiveInt = 12
    encoder_embed_dim: PositiveInt = 768
    encoder_ffn_embed_dim: PositiveInt = 3072
    encoder_attention_heads: PositiveInt = 12
    conv_pos: PositiveInt = 128  # kernel, in tokens
    conv_pos_groups: PositiveInt = 16
    num_buckets: PositiveInt = 320
    max_distance: PositiveInt = 1280
    # Only the values of SALMONN's checkpoint are implemented.
    input_patch_size: Literal[16] = PATCH
    conv_bias: Literal[False] = False
    layer_norm_first: Literal[False] = False
    activation_fn: Literal["gelu"] = "gelu"
    deep_norm: Literal[True]
    relative_position_embedding: Literal[True]
    gru_rel_pos: Literal[True]

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        for part in ("encoder_attention_heads", "conv_pos_groups"):
            if self.encoder_embed_dim % getattr(self, part):
                raise ValueError(f"`{part}` must divide `encoder_embed_dim`")
        if self.num_buckets < 4 or self.max_distance <= self.num_buckets // 4:
            raise ValueError("`max_distance` must exceed a quarter of `num_buckets`")
        return self


class PositionalConvolution(nn.Module):
    """A grouped convolution with weight norm over the kernel's positions; its output has the length of its input."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(width))
        deviation = math.sqrt(4 / (kernel * width))
        self.weight_v = nn.Parameter(torch.randn(width, width // groups, kernel) * deviation)
        self.weight_g = nn.Parameter(self._norm())

    def _norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, channels, T) -> the same."""
        weight = self.weight_v * (self.weight_g / self._norm())
        kernel = weight.shape[-1]
        hidden, length = conv1d(hidden, weight, self.bias, padding=kernel // 2, groups=self.groups), hidden.shape[-1]
        # An even kernel adds one position. For a contiguous tensor torch computes the erf in GELU itself; for a strided
        # one it calls the C library, whose last bit differs between Linux distributions.
        return hidden[..., :length].contiguous()


class Attention(nn.Module):
    """Self-attention with a relative position bias, scaled by a gate for each query (WavLM, Chen et al. 2022)."""

    def __init__(self, width: int, heads: int, table: nn.Embedding) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.grep_linear = nn.Linear(width // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.relative_attention_bias = table  # shared by all layers

    def forward(self, hidden: Tensor, bias: Tensor, padding: Tensor) -> Tensor:
        """Vectors (B, T, H), position bias (heads, T, T), padding (B, 1, 1, T) of 0 and -inf -> vectors (B, T, H)."""
        query, key, value = (
            project(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        update, reset = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().split(1, dim=-1)
        gate = update * (reset * self.grep_a - 1) + 2
        mask = torch.addcmul(padding, gate, bias).to(query.dtype)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A post-norm transformer layer whose residuals are scaled by DeepNorm (Wang et al. 2022)."""

    def __init__(self, config: Config, table: nn.Embedding) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.residual = (2 * config.encoder_layers) ** 0.25
        self.self_attn = Attention(width, config.encoder_attention_heads, table)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, bias: Tensor, padding: Tensor) -> Tensor:
        hidden = self.self_attn_layer_norm(hidden * self.residual + self.self_attn(hidden, bias, padding))
        return self.final_layer_norm(hidden * self.residual + self.fc2(gelu(self.fc1(hidden))))


class Encoder(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.buckets, self.max_distance = config.num_buckets, config.max_distance
        convolution = PositionalConvolution(width, config.conv_pos, config.conv_pos_groups)
        self.pos_conv = nn.Sequential(convolution, nn.GELU())
        self.layer_norm = nn.LayerNorm(width)
        table = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
        self.layers = nn.ModuleList(Layer(config, table) for _ in range(config.encoder_layers))

    def forward(self, hidden: Tensor, is_padding: Tensor) -> Tensor:
        """Vectors (B, T, H) and padding mask (B, T) -> (B, T, H)."""
        hidden = hidden.masked_fill(is_padding[..., None], 0.0)  # as the convolution pads the longest clip
        hidden = self.layer_norm(hidden + self.pos_conv(hidden.transpose(1, 2)).transpose(1, 2))
        bias = self._position_bias(hidden.shape[1], hidden.device)
        padding = bias.new_zeros(is_padding.shape).masked_fill(is_padding, float("-inf"))[:, None, None]
        for layer in self.layers:
            hidden = layer(hidden, bias, padding)
        return hidden

    def _position_bias(self, tokens: int, device: torch.device) -> Tensor:
        """(heads, T, T): one bucket per small distance, logarithmically wider buckets for larger ones (as T5)."""
        position = torch.arange(tokens, device=device)
        offset = position - position[:, None]  # from query to key
        half = self.buckets // 2  # for later keys
        near = half // 2
        distance = offset.abs()
        steps = (distance.clamp(min=near) / near).log() / math.log(self.max_distance / near) * (half - near)
        far = (near + steps.long()).clamp(max=half - 1)
        bucket = (offset > 0) * half + torch.where(distance < near, distance, far)
        return self.layers[0].self_attn.relative_attention_bias(bucket).permute(2, 0, 1).contiguous()


class Beats(nn.Module):
    """BEATs without its classifier: frozen, 50 vectors per second (8 per 160 ms, low frequency bands first)."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        """
        Args:
            cfg: of a checkpoint; keys that do not define the architecture are ignored.

        Raises:
            UserError: `cfg` describes another architecture.
        """
        super().__init__()
        try:
            config = Config.model_validate(cfg)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(("cfg", *map(str, first["loc"])))
            raise UserError(f"`{key}`: {first['msg']}; only the published architecture is supported") from None
        self.width = config.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, PATCH, stride=PATCH, bias=False)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = nn.Linear(config.embed_dim, config.encoder_embed_dim)
        self.encoder = Encoder(config)
        self.requires_grad_(False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode clips independently of each other.

        Args:
            waveforms: (B, N) float32 in [-1, 1] at 16 kHz, padded on the right with any values.
            lengths: (B,) samples of each clip, >= 2800; SALMONN pads clips below 1 s to 1 s.

        Returns:
            vectors (B, T, H), T = 8 * floor(frames / 16), undefined after a clip's end, in the dtype of the weights;
            number of vectors of each clip (B,).

        Raises:
            UserError: a clip is too short for one patch.
        """
        if (shortest := int(lengths.min())) < MIN_SAMPLES:
            raise UserError(
                f"BEATs: a clip of {shortest} samples is too short; pad it to at least {MIN_SAMPLES} "
                f"({MIN_SAMPLES / RATE:g} s)"
            )
        mels, frames = filter_bank(waveforms, lengths)
        patches = self.patch_embedding(mels[:, None].to(self.patch_embedding.weight.dtype))
        hidden = self.post_extract_proj(self.layer_norm(patches.flatten(2).transpose(1, 2)))
        tokens = frames // PATCH * BANDS
        is_padding = torch.arange(hidden.shape[1], device=hidden.device) >= tokens[:, None]
        return self.encoder(hidden, is_padding), tokens


def random(cfg: dict[str, Any], seed: int) -> Beats:
    """A `Beats` with weights drawn from `seed`; the state of the global generators does not change.

    Raises:
        UserError: as `Beats`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Beats(cfg)


def load(path: str | Path) -> Beats:
    """The model of a published file, `{'cfg': …, 'model': …}`; its weights are read from the disk on first use.

    Raises:
        UserError: the file is missing, truncated, or of another kind or architecture.
    """
    path = Path(path).expanduser()
    content = read_checkpoint(path)
    parts = [content.get(part) for part in ("cfg", "model")] if isinstance(content, dict) else []
    parts = [vars(part) if isinstance(part, argparse.Namespace) else part for part in parts]
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise UserError(f"{path}: not a BEATs checkpoint, which contains `cfg` and `model`; use a checkpoint of BEATs")
    cfg, model = parts
    tensors = unwrapped({str(name): value for name, value in model.items() if torch.is_tensor(value)})
    weights = {name: value.float() for name, value in tensors.items() if name not in UNUSED}
    try:
        with torch.device("meta"):
            beats = Beats(cfg)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    check_weights(path, weights, beats.state_dict(), "they do not match its `cfg`; get the complete file again")
    tables = [value for name, value in weights.items() if name.endswith("relative_attention_bias.weight")]
    if not all(torch.equal(tables[0], table) for table in tables):
        raise UserError(f"{path}: its layers have different position tables, but BEATs has one; use another file")
    beats.load_state_dict(weights, assign=True)
    return beats.requires_grad_(False)
