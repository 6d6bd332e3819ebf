"""Bringing the tokens of one stream onto the clock of another, by availability.

Equal indices mean nothing when rates differ, and interpolation looks ahead. A target token takes
the mean of the source tokens that came to count since the target token before it, else the last
one that had come to count, with its age. Tokens of one moment share what there is: those of the
target read the same, and those of the source are read together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmts.tokens import TokenGrid, Tokens


@dataclass(frozen=True)
class Reach:
    """Which source tokens an edge may read.

    causal: only those available at the target token's own time.
    max_lag: seconds from the end of a source token to that of the target token, at most.
    """

    causal: bool = True
    max_lag: float | None = None


@dataclass(frozen=True)
class Aligned:
    """Source values on the target's clock.

    values: (batch, token, source dim), zero where absent.
    age: (batch, token) float32 seconds from the middle of what was read to the token's end.
    weights: (batch, token, source token) float32, of each source token in the values; rows sum to
        one, or to zero where there was nothing to read.
    """

    values: Tensor
    age: Tensor
    weights: Tensor

    @property
    def present(self) -> Tensor:
        """Return whether there was anything to read, (batch, token) bool."""
        return self.weights.any(dim=-1)


def visible_tokens(target: TokenGrid, source: TokenGrid, reach: Reach) -> Tensor:
    """Return which source tokens each target token may read, (batch, token, source token) bool.

    Causal: those available at the target token's own time, which is never past the origin.
    Unobserved tokens are never read.
    """
    visible = source.observed[:, None, :].expand(-1, target.end.shape[1], -1)
    if source.ageless:
        return visible
    if reach.causal:
        visible = visible & (source.available[:, None, :] <= target.own_time[:, :, None])
    if reach.max_lag is not None:
        visible = visible & (target.end[:, :, None] - source.end[:, None, :] <= reach.max_lag)
    return visible


def align(target: TokenGrid, source: Tokens, reach: Reach) -> Aligned:
    """Read a source as of each target token.

    A token counts from the moment it was known and its interval was over; one that was known
    before its interval, such as a plan, from the beginning of the interval. Without `causal`
    every token counts from the beginning of its interval, whenever it became available.
    """
    grid = source.grid
    visible = visible_tokens(target, grid, reach)
    if grid.ageless or target.ageless:
        weights = visible.float() / visible.sum(dim=-1, keepdim=True).clamp(min=1)
    else:
        weights = _weigh(visible, _moments(grid, reach.causal), target.end[:, :, None])
    values = weights.to(source.values.dtype) @ source.values
    if grid.ageless:
        return Aligned(values, torch.zeros_like(target.end), weights)
    # Not a matrix product, which would round seconds to three digits under bf16.
    middle = (weights * grid.middle[:, None, :]).sum(dim=-1)
    age = torch.where(weights.any(dim=-1), target.end - middle, 0.0)
    return Aligned(values, age, weights)


class _Moments(NamedTuple):
    """From when on each source token counts.

    since: (batch, source token) seconds. begins: (batch, source token) bool, whether that is the
    beginning of its interval, which lies in the target token that begins there, and not its end,
    which lies in the target token that ends there.
    """

    since: Tensor
    begins: Tensor


def _moments(grid: TokenGrid, causal: bool) -> _Moments:
    if not causal:
        return _Moments(grid.start, grid.end > grid.start)
    # An event that is published at once is no plan.
    planned = (grid.available < grid.start) | (
        (grid.available == grid.start) & (grid.end > grid.start)
    )
    since = torch.where(planned, grid.start, torch.maximum(grid.available, grid.end))
    return _Moments(since, planned)


def _weigh(visible: Tensor, moments: _Moments, reached: Tensor) -> Tensor:
    """Weigh source tokens, (batch, token, source token) float32; rows sum to one or zero.

    visible: (batch, token, source token). reached: (batch, token, 1), the end of each target token.
    """
    since, begins = (moment[:, None, :] for moment in moments)
    before = _earlier(reached)
    counts = visible & torch.where(begins, since < reached, since <= reached)
    recent = counts & torch.where(begins, since >= before, since > before)
    num_recent = recent.sum(dim=-1, keepdim=True)
    mean = recent.float() / num_recent.clamp(min=1)
    latest = since.masked_fill(~counts, -torch.inf).amax(dim=-1, keepdim=True)
    last = counts & (since == latest)
    fallback = last.float() / last.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(num_recent > 0, mean, fallback)


def _earlier(reached: Tensor) -> Tensor:
    """Return the last end before that of each token, (batch, token, 1); -inf where there is none.

    Of tokens that end together, as those of whole columns do, none stands before the others.
    """
    nothing = torch.full_like(reached[:, :1], -torch.inf)
    previous = torch.cat([nothing, reached.cummax(dim=1).values[:, :-1]], dim=1)
    return previous.masked_fill(previous >= reached, -torch.inf).cummax(dim=1).values
