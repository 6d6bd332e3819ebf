"""Forecasts of one value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from mmts.heads.base import Head, HeadSettings


class PointHeadConfig(HeadSettings):
    """One value per step: the mean (squared error) or the median (absolute error)."""

    kind: Literal["point"] = "point"
    loss: Literal["squared", "absolute"] = Field(
        "squared", description="squared forecasts the mean, absolute the median."
    )

    @property
    def is_robust(self) -> bool:
        """Whether errors count by their size, as for a median, and not by their squares."""
        return self.loss == "absolute"


class PointHead(Head):
    """One linear output per target."""

    def __init__(self, config: PointHeadConfig, num_targets: int) -> None:
        """Build for a number of target columns."""
        super().__init__()
        self.squared = config.loss == "squared"
        self.outputs = ("mean",) if self.squared else ("0.5",)
        self.project = nn.Linear(config.dim, num_targets)

    def begin_at_zero(self) -> None:
        """Let every output be zero at first."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, decoded: Tensor) -> Tensor:
        """Return (batch, horizon, target, 1)."""
        forecast: Tensor = self.project(decoded)
        return forecast[..., None]

    def loss(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the squared or absolute error, (batch, horizon, target)."""
        error = forecast[..., 0] - target
        return error**2 if self.squared else error.abs()
