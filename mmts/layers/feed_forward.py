"""The block that works on each token by itself."""

from __future__ import annotations

from torch import nn


def build_feed_forward(dim: int, dropout: float) -> nn.Sequential:
    """Return norm, widening, GELU and narrowing; the caller adds the shortcut."""
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, 2 * dim),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(2 * dim, dim),
    )
