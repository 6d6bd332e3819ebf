"""Attention between tokens that stand in time, some of which may be absent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from mmts.layers.initialisation import keep_variance

_INITIAL_SHARPNESS = math.log(0.5)
"""Before exp: bounded scores of a head of 16 channels begin within -2 and 2."""


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
    slopes: Tensor | None

    def __init__(
        self,
        query_dim: int,
        source_dim: int,
        num_heads: int,
        time_unit: float,
        zero_start: bool,
        output_dim: int | None = None,
        fades: bool = False,
        bounded: bool = False,
        from_nearest: bool = True,
        null_score: float = -2.0,
    ) -> None:
        """Build for widths of query and source.

        time_unit: seconds that count as one position.
        zero_start: whether the last projection starts at zero, so that nothing is added at first.
        output_dim: width of what is returned; by default that of the query.
        fades: whether scores fall with the distance in time, in each head at a rate of its own
            and in the last not at all; so a query finds what is near before it has learned to ask.
        from_nearest: whether distances count from the nearest token that a query may see of a
            source; so a head that looks near finds the latest weekly report as well as the latest
            reading.
        bounded: whether queries and keys are brought to one length, so that scores stay in bounds
            that are learned slowly, and the null key cannot shut out all others at once.
        null_score: added to the score of the null key where scores fade or are bounded.
        """
        super().__init__()
        assert query_dim % num_heads == 0 and (query_dim // num_heads) % 2 == 0
        self.num_heads = num_heads
        self.time_unit = time_unit
        self.from_nearest = from_nearest
        self.null_score = null_score
        head_dim = query_dim // num_heads
        self.query = nn.Linear(query_dim, query_dim, bias=False)
        self.key = nn.Linear(source_dim, query_dim, bias=False)
        self.value = nn.Linear(source_dim, query_dim, bias=False)
        self.null_key = nn.Parameter(torch.randn(num_heads, head_dim) * 0.02)
        self.output = nn.Linear(query_dim, output_dim or query_dim, bias=False)
        if zero_start:
            keep_variance(self.value)
            nn.init.zeros_(self.output.weight)
        # Wavelengths from about six positions to about six thousand.
        exponents = torch.arange(head_dim // 2) / (head_dim // 2)
        self.register_buffer("frequencies", 1000.0**-exponents, persistent=False)
        # Normalised queries and keys: arXiv 2010.04245.
        self.sharpness: nn.Parameter | None = None
        if bounded:
            self.sharpness = nn.Parameter(torch.full((num_heads,), _INITIAL_SHARPNESS))
        # Fixed, as in arXiv 2108.12409; learned ones would leave the fused kernels. Two heads look
        # at what is nearest: one alone is heard too faintly to end a plateau early.
        slopes = 8.0 ** -(torch.arange(num_heads) - 1).clamp(min=0)
        slopes[-1] = 0.0
        self.register_buffer("slopes", slopes if fades else None)

    def forward(
        self,
        query: Tensor,
        source: Tensor,
        query_time: Tensor,
        source_time: Tensor,
        visible: Tensor,
        lengths: Sequence[int] | None = None,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Return what each query token takes, (batch, token, output_dim).

        query: (batch, token, query_dim). source: (batch, source token, source_dim).
        query_time, source_time: (batch, token), seconds relative to the origin.
        visible: (batch, token or 1, source token), bool.
        lengths: tokens of each source, one behind the other; by default there is one source.
        offset: (source token,), added to the scores of each source token.
        """
        queries, keys = self._place(query, source, query_time, source_time)
        values = functional.pad(self._split(self.value(source)), (0, 0, 1, 0))
        mask = self._mask(visible, query_time, source_time, lengths, offset)
        if mask.is_floating_point():
            mask = mask.to(queries.dtype)
        taken = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        merged = rearrange(taken, "batch head token channel -> batch token (head channel)")
        output: Tensor = self.output(merged)
        return output

    def shares(
        self,
        query: Tensor,
        source: Tensor,
        query_time: Tensor,
        source_time: Tensor,
        visible: Tensor,
        lengths: Sequence[int] | None = None,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Return the weight of each source token, (batch, token, source token), mean of heads.

        What is missing to one went to the null key. Arguments as those of `forward`.
        """
        queries, keys = self._place(query, source, query_time, source_time)
        scores = (queries @ keys.transpose(2, 3)).float() / math.sqrt(queries.shape[-1])
        mask = self._mask(visible, query_time, source_time, lengths, offset)
        masked = (
            scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -torch.inf)
        )
        return masked.softmax(dim=-1).mean(dim=1)[..., 1:]

    def _place(
        self, query: Tensor, source: Tensor, query_time: Tensor, source_time: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return queries and keys, (batch, head, token, channel), the null key first."""
        queries = self._split(self.query(query))
        keys = self._split(self.key(source))
        null: Tensor = self.null_key
        if self.sharpness is not None:
            queries = _unit(queries) * self.sharpness.exp()[:, None, None].to(queries.dtype)
            keys, null = _unit(keys), _unit(null)
        queries = rotate(queries, query_time / self.time_unit, self.frequencies)
        keys = rotate(keys, source_time / self.time_unit, self.frequencies)
        nulls = repeat(null, "head channel -> batch head 1 channel", batch=len(query))
        return queries, torch.cat([nulls.to(keys.dtype), keys], dim=2)

    def _mask(
        self,
        visible: Tensor,
        query_time: Tensor,
        source_time: Tensor,
        lengths: Sequence[int] | None,
        offset: Tensor | None,
    ) -> Tensor:
        """Return what is seen, or added to scores, (batch, 1 or head, token, 1 + source)."""
        if self.slopes is None and offset is None and self.sharpness is None:
            return functional.pad(visible, (1, 0), value=True)[:, None]
        added = torch.zeros_like(source_time)[:, None, None] if offset is None else offset
        if self.slopes is not None:
            distance = (query_time[:, :, None] - source_time[:, None, :]).abs() / self.time_unit
            if self.from_nearest:
                distance = _count_from_nearest(distance, visible, lengths)
            added = added - self.slopes[:, None, None] * distance[:, None]
        masked = torch.where(visible[:, None], added, -torch.inf)
        return functional.pad(masked, (1, 0), value=self.null_score)

    def _split(self, vectors: Tensor) -> Tensor:
        split = "batch token (head channel) -> batch head token channel"
        return rearrange(vectors, split, head=self.num_heads)


def _count_from_nearest(distance: Tensor, visible: Tensor, lengths: Sequence[int] | None) -> Tensor:
    """Take the distance of the nearest visible token of a source from those of all its tokens."""
    pieces = list(lengths or [distance.shape[-1]])
    counted = []
    of_sources = (torch.split(whole, pieces, dim=-1) for whole in (distance, visible))
    for far, seen in zip(*of_sources, strict=True):
        nearest = far.masked_fill(~seen, torch.inf).amin(dim=-1, keepdim=True)
        # Where nothing is visible, any number does.
        counted.append(far - nearest.nan_to_num(posinf=0.0))
    return torch.cat(counted, dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    """Bring vectors to a mean square of one."""
    return functional.rms_norm(vectors, vectors.shape[-1:])


def choose_num_heads(dim: int, wanted: int) -> int:
    """Return the largest number of heads up to `wanted` that leaves an even width per head."""
    return next(n for n in range(min(wanted, dim // 2), 0, -1) if dim % (2 * n) == 0)
