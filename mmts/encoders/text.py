"""One token per dated text, which looks at the other texts."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from mmts.data.batch import StreamWindow
from mmts.data.config import StreamConfig
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.layers.attention import choose_num_heads
from mmts.layers.embedding import ColumnFeatures
from mmts.layers.transformer import TransformerLayer
from mmts.tokens import Tokens


class TextEncoderConfig(EncoderSettings):
    """Attention between dated texts, each through a bottleneck: suits reports, few and wordy."""

    kind: Literal["text"] = "text"
    bottleneck_dim: int = Field(
        8,
        gt=0,
        description="Directions kept of a text's channels, so that few texts cannot be learned "
        "by heart.",
    )
    text_dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of a text's channels left out in training."
    )
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")

    def fault(self, stream: StreamConfig) -> str | None:
        """Refuse a stream without text."""
        if stream.text:
            return None
        return (
            "kind 'text' reads columns of text, and the stream has none. List them under 'text' "
            "of the stream, or choose another kind"
        )


class TextEncoder(Encoder):
    """Texts look at each other by the time that lies between them.

    Columns that are no text are read as every kind reads them.
    """

    causal = False

    def __init__(
        self,
        config: TextEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream; time_unit: seconds per forecast step."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        placed = list(zip(schema.columns, schema.slices, strict=True))
        others = [column for column in schema.columns if column.type != "text"]
        self.features = ColumnFeatures(schema, vocabulary_sizes, others)
        self.texts = [place for column, place in placed if column.type == "text"]
        widths = [place.stop - place.start for place in self.texts]
        ranks = [min(width, config.bottleneck_dim) for width in widths]
        self.bottlenecks = nn.ModuleList(
            nn.Linear(width, rank, bias=False) for width, rank in zip(widths, ranks, strict=True)
        )
        self.text_dropout = nn.Dropout(config.text_dropout)
        self.project = nn.Linear(self.features.dim + sum(ranks) + len(ranks), config.dim)
        heads = choose_num_heads(config.dim, config.num_heads)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, heads, config.dropout, time_unit)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per step."""
        values = window.values.masked_fill(~window.observed, 0.0)
        parts = [self.features(window)]
        for place, bottleneck in zip(self.texts, self.bottlenecks, strict=True):
            parts.append(bottleneck(self.text_dropout(values[..., place])))
            # All channels of a text are there, or none.
            parts.append(window.observed[..., place.start, None].to(values.dtype))
        tokens = self.project(torch.cat(parts, dim=-1))
        return Tokens(tokens, step_grid(window, self.schema.is_static))
