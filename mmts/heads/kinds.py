"""All kinds of heads: a new kind is one file and its name here."""

from __future__ import annotations

from typing import Annotated, assert_never

from pydantic import Field

from mmts.config_base import default_kind
from mmts.heads.base import Head
from mmts.heads.point import PointHead, PointHeadConfig
from mmts.heads.quantile import QuantileHead, QuantileHeadConfig

HeadConfig = Annotated[
    QuantileHeadConfig | PointHeadConfig, Field(discriminator="kind"), default_kind("quantile")
]


def levels_to_calibrate(config: HeadConfig) -> tuple[float, ...]:
    """Return the levels of a head, where there are others than the median; else none."""
    if isinstance(config, QuantileHeadConfig) and len(config.quantile_levels) > 1:
        return config.quantile_levels
    return ()


def build_head(config: HeadConfig, num_targets: int) -> Head:
    """Build a head for a number of target columns."""
    match config:
        case QuantileHeadConfig():
            return QuantileHead(config, num_targets)
        case PointHeadConfig():
            return PointHead(config, num_targets)
        case _:
            assert_never(config)
