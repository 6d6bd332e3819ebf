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
from mmts.layers.attention import choose_num_heads
from mmts.layers.embedding import ColumnFeatures
from mmts.layers.transformer import TransformerLayer
from mmts.tokens import TokenGrid, Tokens


class PatchEncoderConfig(EncoderSettings):
    """A patch transformer (arXiv 2211.14730): suits long regular streams."""

    kind: Literal["patch"] = "patch"
    patch_length: int = Field(16, gt=0, description="Steps per token.")
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")


class PatchEncoder(Encoder):
    """Patches of the past end at the origin and patches of the future begin there."""

    causal = False

    def __init__(
        self,
        config: PatchEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream; time_unit: seconds per forecast step."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
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
        start, end = self._patches(window.start), self._patches(window.end)
        holds = self._patches(window.observed.any(dim=-1).float()) > 0
        observed = holds.any(dim=-1)
        first, last = start[..., 0], end[..., -1]
        if not self.schema.is_regular:
            # A place without an event has no time, wherever in a patch it lies.
            first = torch.where(observed, start.masked_fill(~holds, torch.inf).amin(dim=-1), first)
            last = torch.where(observed, end.masked_fill(~holds, -torch.inf).amax(dim=-1), last)
        return TokenGrid(
            start=first,
            end=last,
            # A patch is known once the last of its rows is.
            available=self._patches(latest_available(window)).amax(dim=-1),
            observed=observed,
            ageless=self.schema.is_static,
        )

    def _patches(self, steps: Tensor) -> Tensor:
        padded = functional.pad(
            steps[:, None, :], (self.front_pad, self.back_pad), mode="replicate"
        )
        return rearrange(
            padded, "batch 1 (token patch) -> batch token patch", patch=self.patch_length
        )
