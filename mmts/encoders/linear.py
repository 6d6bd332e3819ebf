"""One token per step, mixed along time and along channels by linear maps alone."""

from __future__ import annotations

from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.layers.embedding import ColumnFeatures
from mmts.tokens import TokenGrid, Tokens


class LinearEncoderConfig(EncoderSettings):
    """Linear maps along time and channels (cf. arXiv 2205.13504): suits small data.

    A map along time has a weight for each pair of steps of the window, so for short streams.
    """

    kind: Literal["linear"] = "linear"


class LinearLayer(nn.Module):
    """A map along time, shared by all channels, then one along channels; each beside a shortcut."""

    def __init__(self, num_steps: int, dim: int, dropout: float) -> None:
        """Build for a number of tokens and their width."""
        super().__init__()
        self.time = nn.Linear(num_steps, num_steps, bias=False)
        self.channels = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        for part in (self.time, self.channels):
            # Near the shortcut at first, as nothing between the layers keeps values in bounds;
            # not at it, or all layers would have the same gradient, and learn the same.
            nn.init.normal_(part.weight, std=0.1 * part.in_features**-0.5)
        nn.init.zeros_(self.channels.bias)

    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """Return (batch, token, dim); tokens without an observed value pass nothing on."""
        seen = tokens * grid.observed[..., None]
        mixed = self.time(rearrange(seen, "batch token channel -> batch channel token"))
        mixed = rearrange(mixed, "batch channel token -> batch token channel")
        tokens = tokens + self.dropout(mixed)
        output: Tensor = tokens + self.dropout(self.channels(tokens))
        return output


class LinearEncoder(Encoder):
    """Linear in the numbers of a window up to the final norm, and in embedded categories."""

    causal = False

    def __init__(
        self,
        config: LinearEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        self.features = ColumnFeatures(schema, vocabulary_sizes)
        self.project = nn.Linear(self.features.dim, config.dim)
        self.layers = nn.ModuleList(
            LinearLayer(schema.num_steps, config.dim, config.dropout)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per step."""
        return Tokens(self.project(self.features(window)), step_grid(window, self.schema.is_static))
