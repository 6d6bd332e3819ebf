"""Factors by which quantiles move towards the median or away from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from mmts.calibration.config import CalibrationConfig
from mmts.config_base import Config
from mmts.errors import DataError

Array = npt.NDArray[np.float64]

AMPLE = 5
"""Times as many windows as a level needs, from which on every step gets a factor of its own."""


class Calibration(Config):
    """What was found on the validation split.

    config: resolved. num_windows: that it was fitted on. num_apart: how many of them do not
    overlap, in all items.
    factors: (step, target, quantile), of the distance from the median; one step that serves all,
    or each step of the horizon. Kept apart, as they are tensors in a checkpoint.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    config: CalibrationConfig
    num_windows: int = Field(gt=0)
    num_apart: int = Field(gt=0)
    factors: Array = Field(default_factory=lambda: np.ones((1, 1, 1)), exclude=True, repr=False)

    def shape(self, horizon: int, num_targets: int, num_levels: int) -> tuple[int, int, int]:
        """Return the shape that the factors must have."""
        return horizon if self.config.by_step is True else 1, num_targets, num_levels

    def with_factors(self, factors: Array) -> Self:
        """Return it complete; raises ValueError for a factor below zero."""
        if not (factors >= 0).all():
            raise ValueError("a factor of the calibration lies below zero")
        return self.model_copy(update={"factors": factors})

    def apply(self, quantiles: Array, quantile_levels: Sequence[float]) -> Array:
        """Return the calibrated quantiles, (window, horizon, target, quantile), of any unit."""
        return move_quantiles(quantiles, quantile_levels, self.factors)


def move_quantiles(quantiles: Array, quantile_levels: Sequence[float], factors: Array) -> Array:
    """Multiply the distance of each quantile from the median.

    quantiles: (window, horizon, target, quantile), by rising levels, 0.5 among them.
    factors: (step, target, quantile), broadcast over steps.
    The median stays as it is, and no two quantiles cross: from the median outwards none moves to
    within the one before it. That only ever widens, so that none covers less by it.
    """
    middle = find_median(quantile_levels)
    median = quantiles[..., middle : middle + 1]
    distance = np.abs(quantiles - median) * factors
    below = np.maximum.accumulate(distance[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    above = np.maximum.accumulate(distance[..., middle + 1 :], axis=-1)
    return np.concatenate([median - below, median, median + above], axis=-1)


def fit_factors(
    quantiles: Array,
    actual: Array,
    observed: npt.NDArray[np.bool_],
    blocks: npt.NDArray[np.int64],
    quantile_levels: Sequence[float],
    config: CalibrationConfig,
) -> Array:
    """Return the factors, (step, target, quantile), with which quantiles hold what they say.

    quantiles: (window, horizon, target, quantile). actual, observed: (window, horizon, target).
    blocks: (window,), as `windows_apart` gives them. config: resolved.

    A value's score is its distance from the median, on the side of the quantile, over the
    quantile's own distance: 1 on the quantile, above 1 beyond it. The factor is that quantile of
    the scores, with the correction for finite samples, so that the level holds on the split that
    is fitted on. This is conformalised quantile regression (arXiv 1905.03222) with two changes.
    Each level is fitted by itself (its theorem 2), so that each is what it says and not their
    pair alone, and a level without a partner needs no rule of its own. And scores are relative to
    the forecast's own spread (cf. CQR-m in arXiv 1909.05433), as windows and items differ in scale.

    What holds then: if the windows to come are exchangeable with those fitted on, a value lies
    below the quantile of a level above 0.5 with at least that probability, above that of a level
    below 0.5 likewise, and so in the interval 1 - 2q with at least that. This is the mean over all
    windows, and says nothing of a single one. Windows of a series are not exchangeable: they
    overlap, so that n of them tell less than n, and the future may differ from the past. For the
    first the correction counts windows that do not overlap; against the second nothing helps, and
    no coverage is promised.

    Raises DataError when there are too few windows for a level, or when the model gives a quantile
    no distance from the median in too many of them.
    """
    middle = find_median(quantile_levels)
    median = quantiles[..., middle]
    assert config.by_step != "auto"
    num_steps = actual.shape[1] if config.by_step else 1
    factors = np.ones((num_steps, actual.shape[2], len(quantile_levels)))
    for place, level in enumerate(quantile_levels):
        if place == middle:
            continue
        side = 1 if place > middle else -1
        spread = side * (quantiles[..., place] - median)
        beyond = side * (actual - median)
        # Where there is no spread no factor reaches what lies beyond, and any does the rest.
        scores = np.where(beyond > 0, np.inf, -np.inf)
        np.divide(beyond, spread, out=scores, where=spread > 0)
        for target in range(actual.shape[2]):
            for step in range(num_steps):
                steps = slice(step, step + 1) if config.by_step else slice(None)
                known = observed[:, steps, target]
                num_apart = len(np.unique(blocks[known.any(axis=1)]))
                where = f"step {step + 1}: " if config.by_step else ""
                factors[step, target, place] = _conformal_quantile(
                    scores[:, steps, target][known], max(level, 1 - level), num_apart, level, where
                )
    # Below zero it would lie on the other side of the median.
    return np.maximum(factors, 1.0 if config.only_widen else 0.0)


def resolve_by_step(
    config: CalibrationConfig, num_apart: int, quantile_levels: Sequence[float]
) -> CalibrationConfig:
    """Settle whether each step gets factors of its own; num_apart: windows that do not overlap."""
    if config.by_step != "auto":
        return config
    needed = max(windows_needed(level) for level in quantile_levels)
    return config.model_copy(update={"by_step": num_apart >= AMPLE * needed})


def windows_apart(
    items: npt.NDArray[np.integer], places: npt.NDArray[np.int64], horizon: int
) -> npt.NDArray[np.int64]:
    """Return a number per window, (window,), the same for those of an item that overlap.

    places, horizon: in steps, places from the first one. Each item's time is cut into horizons:
    there are as many numbers as windows that could stand side by side.
    """
    pairs = np.stack([items.astype(np.int64), places // horizon], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def windows_needed(level: float) -> int:
    """Return how many windows that do not overlap a level needs: 9 for 0.1 and 0.9."""
    outer = max(level, 1 - level)
    return math.ceil(round(outer / (1 - outer), 6))


def find_median(quantile_levels: Sequence[float]) -> int:
    """Return the place of the level 0.5."""
    return list(quantile_levels).index(0.5)


def _conformal_quantile(
    scores: Array, outer: float, num_apart: int, level: float, where: str
) -> float:
    """Return the score that a share `outer` (n + 1) / n of all scores does not exceed.

    n: windows that do not overlap, as the values of one window are no independent draws.
    """
    needed = windows_needed(level)
    if num_apart < needed:
        raise DataError(
            f"{where}the quantile {level:g} cannot be calibrated: that takes at least {needed} "
            f"windows with an observed value that do not overlap, and the split has {num_apart}. "
            "Make the validation split longer, leave the calibration out, or take levels nearer "
            "to 0.5."
        )
    share = min(1.0, outer * (num_apart + 1) / num_apart)
    # Rounded, so that 0.9 of 10 values are 9 of them whatever the floats make of it.
    rank = math.ceil(round(share * len(scores), 6))
    found = float(np.partition(scores, rank - 1)[rank - 1])
    if found == math.inf:
        raise DataError(
            f"{where}the quantile {level:g} cannot be calibrated: in too many windows the model "
            "puts it where the median is, so that no factor moves it. Train longer, or leave the "
            "calibration out."
        )
    return found
