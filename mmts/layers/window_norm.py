"""Standardising the target by its own window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.channels import put_channels, take_channels

_SMALLEST_SCALE = 0.05
"""In units of the train split's standard deviation: a window may be flat."""


@dataclass(frozen=True)
class WindowScale:
    """Level and spread of the target in each window, both (batch, 1, target)."""

    level: Tensor
    spread: Tensor

    def normalise(self, target: Tensor) -> Tensor:
        """Bring (batch, horizon, target) onto the window's scale."""
        return (target - self.level) / self.spread

    def widen(self, change: Tensor) -> Tensor:
        """Bring a change (batch, horizon, target, quantile) from the window's scale."""
        return change * self.spread[..., None]

    def restore(self, forecast: Tensor) -> Tensor:
        """Bring (batch, horizon, target, quantile) back from the window's scale."""
        return forecast * self.spread[..., None] + self.level[..., None]


def measure_scale(window: StreamWindow, channels: list[int]) -> WindowScale:
    """Measure mean and standard deviation over what is observed of the target in each window.

    Source: reversible instance normalisation (ICLR 2022, openreview cGDAkQo1C0p), with a mask.
    """
    values = take_channels(window.values, channels)
    observed = take_channels(window.observed, channels)
    num_observed = observed.sum(dim=1, keepdim=True)
    count = num_observed.clamp(min=1)
    # From observed steps only: the zeros of missing ones would shrink the spread.
    level = values.sum(dim=1, keepdim=True) / count
    squares = ((values - level) ** 2).masked_fill(~observed, 0.0)
    variance = squares.sum(dim=1, keepdim=True) / count
    spread = variance.sqrt().clamp(min=_SMALLEST_SCALE)
    return WindowScale(level, torch.where(num_observed > 0, spread, 1.0))


def normalise_window(window: StreamWindow, channels: list[int], scale: WindowScale) -> StreamWindow:
    """Return the window with its target channels on the window's own scale."""
    normal = scale.normalise(take_channels(window.values, channels))
    values = window.values.clone()
    observed = take_channels(window.observed, channels)
    put_channels(values, channels, normal.masked_fill(~observed, 0.0))
    return replace(window, values=values)


def unit_scale(batch: int, num_targets: int, device: torch.device) -> WindowScale:
    """Return the scale that changes nothing."""
    one = torch.ones(batch, 1, num_targets, device=device)
    return WindowScale(torch.zeros_like(one), one)
