"""What every head offers: outputs per forecast step, and the loss that belongs to them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import Field
from torch import Tensor, nn

from mmts.config_base import Config
from mmts.interactions.base import NodeName


class HeadSettings(Config):
    """Settings that all kinds share."""

    dim: int = Field(64, gt=0, multiple_of=2, description="Width of the decoder.")
    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")
    max_queries: int = Field(
        48,
        gt=0,
        description="Queries of the decoder at most: where the horizon has more steps, each query "
        "stands for several that follow one another.",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of activations left out.")
    reads: tuple[NodeName, ...] = Field(
        (), description="Nodes read besides the target stream's and the known future's output."
    )

    @property
    def is_robust(self) -> bool:
        """Whether errors count by their size, as for a median, and not by their squares."""
        return True


class Head(nn.Module, ABC):
    """Turns (batch, horizon, dim) into forecasts on the scale of the training target.

    outputs: names of the forecast columns, in order: `mean`, or quantile levels such as `0.1`.
    """

    outputs: tuple[str, ...]

    @abstractmethod
    def begin_at_zero(self) -> None:
        """Let every output be zero at first."""

    @abstractmethod
    def forward(self, decoded: Tensor) -> Tensor:
        """Return (batch, horizon, target, output)."""

    @abstractmethod
    def loss(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each value, (batch, horizon, target).

        forecast: (batch, horizon, target, output). target: (batch, horizon, target).
        """
