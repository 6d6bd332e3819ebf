"""What each forecast step reads of a stream that reaches over the horizon."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmts.tokens import Tokens

FEW_STEPS = 64
"""Steps up to which it is quicker to hold each against every token."""


def read_steps(step_edges: Tensor, tokens: Tokens) -> Tensor:
    """Return the mean of the observed tokens that overlap each step, (batch, horizon, dim).

    Zero where there is none. An event has no length: it belongs to the step in which it begins.
    step_edges: (batch, horizon + 1) seconds relative to the origin.
    """
    is_short = step_edges.shape[1] - 1 <= FEW_STEPS
    return read_by_overlap(step_edges, tokens) if is_short else read_by_order(step_edges, tokens)


def read_by_overlap(step_edges: Tensor, tokens: Tokens) -> Tensor:
    """Hold each step against every token; takes steps times tokens."""
    grid, begin, end = tokens.grid, step_edges[:, :-1, None], step_edges[:, 1:, None]
    reaches = (grid.end[:, None, :] > begin) | (grid.start[:, None, :] >= begin)
    overlaps = (grid.start[:, None, :] < end) & reaches & grid.observed[:, None, :]
    shares = overlaps.float() / overlaps.sum(dim=-1, keepdim=True).clamp(min=1)
    return shares.to(tokens.values.dtype) @ tokens.values


def read_by_order(step_edges: Tensor, tokens: Tokens) -> Tensor:
    """Look steps up in tokens in order of time; takes tokens times channels.

    Of the tokens that begin before a step ends, all overlap it that are not over when it begins.
    """
    grid = tokens.grid
    over = torch.where(grid.end > grid.start, grid.end, _just_after(grid.start))
    began_sum, began = _up_to(grid.start, tokens, step_edges[:, 1:], inclusive=False)
    over_sum, ended = _up_to(over, tokens, step_edges[:, :-1], inclusive=True)
    number = (began - ended)[..., None]
    mean = (began_sum - over_sum) / number.clamp(min=1)
    return mean.masked_fill(number == 0, 0.0).to(tokens.values.dtype)


def _up_to(
    moments: Tensor, tokens: Tokens, limits: Tensor, inclusive: bool
) -> tuple[Tensor, Tensor]:
    """Add up the observed tokens whose moment lies before each limit, or at it too.

    moments: (batch, token). limits: (batch, horizon). Returns sums (batch, horizon, dim) float64,
    and how many tokens they are of, (batch, horizon) int64.
    """
    observed = tokens.grid.observed
    moments, order = torch.where(observed, moments, torch.inf).sort(dim=1)
    count = torch.searchsorted(moments, limits.contiguous(), right=inclusive)
    # In float64 the difference of two sums of float32 is a sum of float32 again, to the last bit
    # where a step is covered by one token.
    values = tokens.values.double().masked_fill(~observed[..., None], 0.0)
    ordered = values.gather(1, order[..., None].expand_as(values))
    sums = functional.pad(ordered.cumsum(dim=1), (0, 0, 1, 0))
    return sums.gather(1, count[..., None].expand(-1, -1, values.shape[-1])), count


def _just_after(moments: Tensor) -> Tensor:
    return torch.nextafter(moments, torch.full_like(moments, torch.inf))
