"""Attention between tokens that stand in time, some of which may be absent."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional


def rotate(vectors: Tensor, positions: Tensor, frequencies: Tensor) -> Tensor:
    """Rotate queries or keys by their place in time, so that products depend on distances.

    vectors: (batch, head, token, channel), channel even. positions: (batch, token) float32.
    frequencies: (channel / 2,), radians per unit of position.
    Source: rotary position embedding, arXiv 2104.09864, with real time for the index.
    """
    # In float32 even under bf16: its 8 bits cannot tell hour 167 from hour 168.
    angle = positions.float()[:, None, :, None] * frequencies
    cos, sin = angle.cos(), angle.sin()
    first, second = vectors.float().chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(vectors.dtype)


class TimedAttention(nn.Module):
    """Multi-head attention with real time in the positions and a null key.

    The null key has value zero: a query that finds nothing of use, or nothing at all, takes it
    and gets zero. Query and source may differ in width, length and rate.
    """

    frequencies: Tensor

    def __init__(
        self, query_dim: int, source_dim: int, num_heads: int, time_unit: float, zero_start: bool
    ) -> None:
        """Build for widths of query and source.

        time_unit: seconds that count as one position.
        zero_start: whether the last projection starts at zero, so that nothing is added at first.
        """
        super().__init__()
        assert query_dim % num_heads == 0 and (query_dim // num_heads) % 2 == 0
        self.num_heads = num_heads
        self.time_unit = time_unit
        head_dim = query_dim // num_heads
        self.query = nn.Linear(query_dim, query_dim, bias=False)
        self.key = nn.Linear(source_dim, query_dim, bias=False)
        self.value = nn.Linear(source_dim, query_dim, bias=False)
        self.null_key = nn.Parameter(torch.randn(num_heads, head_dim) * 0.02)
        self.output = nn.Linear(query_dim, query_dim, bias=False)
        if zero_start:
            nn.init.zeros_(self.output.weight)
        # Wavelengths from about six positions to about six thousand.
        exponents = torch.arange(head_dim // 2) / (head_dim // 2)
        self.register_buffer("frequencies", 1000.0**-exponents, persistent=False)

    def forward(
        self,
        query: Tensor,
        source: Tensor,
        query_time: Tensor,
        source_time: Tensor,
        visible: Tensor,
    ) -> Tensor:
        """Return what each query token takes, (batch, token, query_dim).

        query: (batch, token, query_dim). source: (batch, source token, source_dim).
        query_time, source_time: (batch, token), seconds relative to the origin.
        visible: (batch, token or 1, source token), bool.
        """
        split = "batch token (head channel) -> batch head token channel"
        queries = rearrange(self.query(query), split, head=self.num_heads)
        keys = rearrange(self.key(source), split, head=self.num_heads)
        values = rearrange(self.value(source), split, head=self.num_heads)
        queries = rotate(queries, query_time / self.time_unit, self.frequencies)
        keys = rotate(keys, source_time / self.time_unit, self.frequencies)

        null = repeat(self.null_key, "head channel -> batch head 1 channel", batch=len(query))
        keys = torch.cat([null.to(keys.dtype), keys], dim=2)
        values = functional.pad(values, (0, 0, 1, 0))
        mask = functional.pad(visible, (1, 0), value=True)
        taken = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask[:, None]
        )
        merged = rearrange(taken, "batch head token channel -> batch token (head channel)")
        output: Tensor = self.output(merged)
        return output


def choose_num_heads(dim: int, wanted: int) -> int:
    """Return the largest number of heads up to `wanted` that leaves an even width per head."""
    return next(n for n in range(wanted, 0, -1) if dim % (2 * n) == 0)
