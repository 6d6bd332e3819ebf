"""Forecasts of quantiles."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from mmts.heads.base import Head, HeadSettings
from mmts.losses import pinball_loss


class QuantileHeadConfig(HeadSettings):
    """Quantiles, trained with the pinball loss; robust to outliers."""

    kind: Literal["quantile"] = "quantile"
    quantile_levels: tuple[float, ...] = Field(
        (0.1, 0.5, 0.9), min_length=1, description="Levels to forecast, rising; 0.5 among them."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = self.quantile_levels
        if not all(0 < level < 1 for level in levels):
            raise ValueError("'quantile_levels' must lie between 0 and 1")
        names = [level_name(level) for level in levels]
        alike = [level for level, name in zip(levels, names, strict=True) if names.count(name) > 1]
        if alike or "1" in names:
            told = ", ".join(map(str, alike or [levels[names.index("1")]]))
            raise ValueError(
                f"'quantile_levels': {told} cannot be told from "
                f"{'each other' if alike else '1'} by six digits, with which they are written"
            )
        if any(low >= high for low, high in pairwise(levels)):
            raise ValueError("'quantile_levels' must rise")
        if 0.5 not in levels:
            raise ValueError("'quantile_levels' must hold 0.5, the point forecast")
        return self


def level_name(level: float) -> str:
    """Return the name of the output of a level."""
    return f"{level:g}"


class QuantileHead(Head):
    """One linear output per target and level; sorted, so that quantiles never cross.

    Sorting never raises the pinball loss (rearrangement, arXiv 0704.3649).
    """

    levels: Tensor

    def __init__(self, config: QuantileHeadConfig, num_targets: int) -> None:
        """Build for a number of target columns."""
        super().__init__()
        self.outputs = tuple(level_name(level) for level in config.quantile_levels)
        self.num_targets = num_targets
        self.project = nn.Linear(config.dim, num_targets * len(self.outputs))
        self.register_buffer("levels", torch.tensor(config.quantile_levels), persistent=False)

    def begin_at_zero(self) -> None:
        """Let every output be zero at first."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, decoded: Tensor) -> Tensor:
        """Return (batch, horizon, target, quantile)."""
        quantiles = rearrange(
            self.project(decoded),
            "batch horizon (target quantile) -> batch horizon target quantile",
            target=self.num_targets,
        )
        ordered: Tensor = quantiles.sort(dim=-1).values
        return ordered

    def loss(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the mean pinball loss over levels, (batch, horizon, target)."""
        return pinball_loss(forecast, target, self.levels).mean(dim=-1)
