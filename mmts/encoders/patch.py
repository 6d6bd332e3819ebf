"""Patches of several steps as tokens, read by a transformer."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, latest_available
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.layers.embedding import ColumnFeatures
from mmts.layers.feed_forward import build_feed_forward
from mmts.tokens import TokenGrid, Tokens


class PatchEncoderConfig(EncoderSettings):
    """A patch transformer (arXiv 2211.14730): suits long regular streams."""

    kind: Literal["patch"] = "patch"
    patch_length: int = Field(16, gt=0, description="Steps per token.")
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")


class TransformerLayer(nn.Module):
    """Attention and a feed-forward block, each normalised at its input."""

    def __init__(self, dim: int, num_heads: int, dropout: float, time_unit: float) -> None:
        """Build for tokens of one width; time_unit: seconds per position."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = TimedAttention(dim, dim, num_heads, time_unit, zero_start=False)
        self.feed_forward = build_feed_forward(dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """Return (batch, token, dim); tokens without an observed value are not looked at."""
        normal = self.attention_norm(tokens)
        time = grid.middle
        taken = self.attention(normal, normal, time, time, grid.observed[:, None, :])
        tokens = tokens + self.dropout(taken)
        output: Tensor = tokens + self.dropout(self.feed_forward(tokens))
        return output


class PatchEncoder(Encoder):
    """Patches of the past end at the origin and patches of the future begin there."""

    def __init__(
        self,
        config: PatchEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream; time_unit: seconds per forecast step."""
        super().__init__()
        self.schema = schema
        self.patch_length = config.patch_length
        self.features = ColumnFeatures(schema, vocabulary_sizes)
        self.project = nn.Linear(config.patch_length * self.features.dim, config.dim)
        # Rounded up on both sides of the origin, as no patch lies across it.
        self.front_pad = -schema.context_steps % config.patch_length
        self.back_pad = -schema.future_steps % config.patch_length
        num_steps = self.front_pad + schema.num_steps + self.back_pad
        num_tokens = num_steps // config.patch_length
        self.position = nn.Parameter(torch.randn(num_tokens, config.dim) * 0.02)
        heads = choose_num_heads(config.dim, config.num_heads)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, heads, config.dropout, time_unit)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per patch."""
        features = functional.pad(self.features(window), (0, 0, self.front_pad, self.back_pad))
        patches = rearrange(
            features,
            "batch (token patch) feature -> batch token (patch feature)",
            patch=self.patch_length,
        )
        return Tokens(self.project(patches) + self.position, self._grid(window))

    def _grid(self, window: StreamWindow) -> TokenGrid:
        return TokenGrid(
            start=self._patches(window.start)[..., 0],
            end=self._patches(window.end)[..., -1],
            # A patch is known once the last of its rows is.
            available=self._patches(latest_available(window)).amax(dim=-1),
            observed=self._patches(window.observed.any(dim=-1).float()).amax(dim=-1) > 0,
            ageless=self.schema.is_static,
        )

    def _patches(self, steps: Tensor) -> Tensor:
        padded = functional.pad(
            steps[:, None, :], (self.front_pad, self.back_pad), mode="replicate"
        )
        return rearrange(
            padded, "batch 1 (token patch) -> batch token patch", patch=self.patch_length
        )
