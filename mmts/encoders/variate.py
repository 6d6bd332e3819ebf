"""One token per column, which looks at the other columns."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings
from mmts.layers.attention import choose_num_heads
from mmts.layers.embedding import ColumnFeatures, measure_age
from mmts.layers.transformer import TransformerLayer
from mmts.tokens import TokenGrid, Tokens


class VariateEncoderConfig(EncoderSettings):
    """Attention between whole columns (arXiv 2310.06625): suits many columns that move together."""

    kind: Literal["variate"] = "variate"
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")


class VariateEncoder(Encoder):
    """A token is the history of one column: its values, and where they are observed.

    All tokens stand over the whole window, from its first step to its last, and are known once the
    newest of their values is. So over a causal edge they reach only tokens at the end of the past
    and over the horizon. `causal: false` takes them everywhere, save that a stream known over the
    horizon ends there: edges that align by time (`residual`, `weighted`) then bring nothing to the
    past, and `attention` does.

    The head reads them as it reads any others. Over the horizon every step takes the same from
    them: a future that differs from step to step is better read by `conv`.
    """

    causal = False
    indicators: Tensor
    numbers: Tensor
    order: Tensor

    def __init__(
        self,
        config: VariateEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream; time_unit: seconds per forecast step."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        # All channels of a column are there, or none.
        indicators = [place.start for place in schema.slices]
        types = [column.type for column in schema.columns]
        others = [i for i, kind in enumerate(types) if kind in ("category", "text")]
        numbers = [i for i, kind in enumerate(types) if kind not in ("category", "text")]
        self.others = [indicators[i] for i in others]
        # Places of channels lie on the device: a list would be copied there in every step.
        self.register_buffer("indicators", torch.tensor(indicators), persistent=False)
        self.register_buffer(
            "numbers", torch.tensor([indicators[i] for i in numbers]), persistent=False
        )
        # Back to the order of the columns, from that in which tokens are made.
        order = torch.tensor([*numbers, *others]).argsort()
        self.register_buffer("order", order, persistent=False)

        self.has_age = not (schema.is_regular or schema.is_static)
        if numbers:
            # What a value, its indicator and its age mean is much the same for all numbers.
            self.project = nn.Linear(schema.num_steps * (2 + int(self.has_age)), config.dim)
        features = [ColumnFeatures(schema, vocabulary_sizes, [schema.columns[i]]) for i in others]
        self.features = nn.ModuleList(features)
        self.project_others = nn.ModuleList(
            nn.Linear(schema.num_steps * own.dim, config.dim) for own in features
        )
        self.column = nn.Parameter(torch.randn(len(types), config.dim) * 0.02)
        heads = choose_num_heads(config.dim, config.num_heads)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, heads, config.dropout, time_unit)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per column, in the order of the schema."""
        tokens = []
        if len(self.numbers):
            tokens.append(self.project(self._read_numbers(window)))
        for channel, features, project in zip(
            self.others, self.features, self.project_others, strict=True
        ):
            # The age of a row, too, only where this column has a value in it.
            history = features(window) * window.observed[..., channel, None]
            tokens.append(
                project(rearrange(history, "batch step feature -> batch 1 (step feature)"))
            )
        return Tokens(
            torch.cat(tokens, dim=1).index_select(1, self.order) + self.column, self._grid(window)
        )

    def _read_numbers(self, window: StreamWindow) -> Tensor:
        """Return (batch, column, feature): a value, its indicator and its age for every step."""
        observed = window.observed.index_select(-1, self.numbers)
        values = window.values.index_select(-1, self.numbers).masked_fill(~observed, 0.0)
        parts = [values, observed.to(values.dtype)]
        if self.has_age:
            parts.append(measure_age(window)[..., None] * observed)
        return rearrange(parts, "feature batch step column -> batch column (step feature)")

    def _grid(self, window: StreamWindow) -> TokenGrid:
        observed = window.observed.index_select(-1, self.indicators)
        any_step = window.start[:, :1].expand(-1, len(self.indicators))
        known = window.available[..., None].masked_fill(~observed, -torch.inf)
        return TokenGrid(
            # The least and the greatest: places without an event stand out of order.
            start=window.start.amin(dim=1, keepdim=True).expand_as(any_step),
            end=window.end.amax(dim=1, keepdim=True).expand_as(any_step),
            available=known.amax(dim=1),
            observed=observed.any(dim=1),
            ageless=self.schema.is_static,
        )
