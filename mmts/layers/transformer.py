"""Tokens of one stream that look at each other."""

from __future__ import annotations

from torch import Tensor, nn

from mmts.layers.attention import TimedAttention
from mmts.layers.feed_forward import build_feed_forward
from mmts.tokens import TokenGrid


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
