"""Losses over observed values only."""

from __future__ import annotations

import torch
from torch import Tensor


def pinball_loss(forecast: Tensor, target: Tensor, quantile_levels: Tensor) -> Tensor:
    """Return the pinball loss of each value, (..., quantile).

    forecast: (..., quantile). target: (...). quantile_levels: (quantile,).
    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).
    """
    error = target[..., None] - forecast
    return torch.maximum(quantile_levels * error, (quantile_levels - 1) * error)


def masked_mean(losses: Tensor, observed: Tensor, count: Tensor | None = None) -> Tensor:
    """Return the mean over observed values; zero when there is none.

    losses, observed: the same shape. count: (), what to divide by instead of their number.
    """
    total = losses.masked_fill(~observed, 0.0).sum()
    return total / (observed.sum().clamp(min=1) if count is None else count)
