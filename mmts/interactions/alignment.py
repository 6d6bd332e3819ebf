"""Bringing the tokens of one stream onto the clock of another, by availability.

Equal indices mean nothing when rates differ, and interpolation looks ahead. A target token takes
the mean of the source tokens that became visible since the target token before it, else the last
one that had become visible, with its age.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.tokens import TokenGrid, Tokens


@dataclass(frozen=True)
class Aligned:
    """Source values on the target's clock.

    values: (batch, token, source dim), zero where absent.
    age: (batch, token) float32 seconds from the middle of what was read to the token's end.
    present: (batch, token) bool, whether there was anything to read.
    """

    values: Tensor
    age: Tensor
    present: Tensor


def visible_tokens(target: TokenGrid, source: TokenGrid, causal: bool) -> Tensor:
    """Return which source tokens each target token may read, (batch, token, source token) bool.

    Causal: those available at the target token's own time, which is never past the origin.
    Unobserved tokens are never read.
    """
    observed = source.observed[:, None, :].expand(-1, target.end.shape[1], -1)
    if not causal or source.ageless:
        return observed
    return observed & (source.available[:, None, :] <= target.own_time[:, :, None])


def align(target: TokenGrid, source: Tokens, causal: bool) -> Aligned:
    """Read a source as of each target token.

    Without `causal` a token counts from the end of its interval, whenever it became available.
    """
    grid = source.grid
    visible = visible_tokens(target, grid, causal)
    if grid.ageless or target.ageless:
        weights = visible.float() / visible.sum(dim=-1, keepdim=True).clamp(min=1)
    else:
        # What is known ahead of its time counts from its time on.
        since = torch.maximum(grid.available, grid.end) if causal else grid.end
        reached = target.end[:, :, None]
        visible = visible & (since[:, None, :] <= reached)
        weights = _weigh(visible, since, reached)
    present = visible.any(dim=-1)
    values = weights.to(source.values.dtype) @ source.values
    if grid.ageless:
        return Aligned(values, torch.zeros_like(target.end), present)
    middle = (weights @ grid.middle[..., None]).squeeze(-1)
    age = torch.where(present, target.end - middle, 0.0)
    return Aligned(values, age, present)


def _weigh(visible: Tensor, since: Tensor, reached: Tensor) -> Tensor:
    """Weigh source tokens, (batch, token, source token) float32; rows sum to one or zero.

    visible: (batch, token, source token). since: (batch, source token), from when on a token
    counts. reached: (batch, token, 1), the end of each target token.
    """
    before = torch.cat([torch.full_like(reached[:, :1], -torch.inf), reached[:, :-1]], dim=1)
    recent = visible & (since[:, None, :] > before)
    num_recent = recent.sum(dim=-1, keepdim=True)
    mean = recent.float() / num_recent.clamp(min=1)
    last = since[:, None, :].masked_fill(~visible, -torch.inf).argmax(dim=-1, keepdim=True)
    fallback = torch.zeros_like(mean).scatter(-1, last, 1.0) * visible
    return torch.where(num_recent > 0, mean, fallback)
