"""One token per step, each read by itself."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.layers.embedding import ColumnFeatures
from mmts.tokens import TokenGrid, Tokens


class MLPEncoderConfig(EncoderSettings):
    """A residual MLP on every token: suits static streams and known futures."""

    kind: Literal["mlp"] = "mlp"


class ResidualMLP(nn.Module):
    """A feed-forward block beside a shortcut."""

    def __init__(self, dim: int, dropout: float) -> None:
        """Build for tokens of one width."""
        super().__init__()
        self.block = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, _: TokenGrid) -> Tensor:
        """Return (batch, token, dim)."""
        output: Tensor = tokens + self.dropout(self.block(tokens))
        return output


class MLPEncoder(Encoder):
    """Tokens do not see each other; only interactions and the head bring them together."""

    causal = True

    def __init__(
        self,
        config: MLPEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        self.features = ColumnFeatures(schema, vocabulary_sizes)
        self.project = nn.Linear(self.features.dim, config.dim)
        self.layers = nn.ModuleList(
            ResidualMLP(config.dim, config.dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per step."""
        return Tokens(self.project(self.features(window)), step_grid(window, self.schema.is_static))
