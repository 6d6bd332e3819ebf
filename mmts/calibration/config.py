"""Settings of the calibration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmts.config_base import Config


class CalibrationConfig(Config):
    """Split-conformal calibration: quantiles are moved to hold their share of the validation split.

    After the training, and without a change to the weights or to the median.
    """

    kind: Literal["conformal"] = "conformal"
    by_step: bool | Literal["auto"] = Field(
        "auto",
        description="Whether every step of the horizon gets a factor of its own; else one serves "
        "all steps. auto, where the validation split holds five times as many windows as it takes.",
    )
    only_widen: bool = Field(
        False,
        description="Whether quantiles only move away from the median, never towards it: for data "
        "that may become harder to forecast than the validation split was.",
    )
