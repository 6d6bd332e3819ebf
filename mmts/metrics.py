"""Measures of a forecast, over observed values only.

Every measure takes arrays of one shape, such as (window, horizon, target), and returns one number;
a measure by step is the same measure of one step's slice. Where nothing is observed, or where a
measure is not defined, the number is NaN. Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

_SAME_LEVEL = 1e-6


def mean_absolute_error(forecast: Numbers, actual: Numbers, observed: Mask) -> float:
    """Return the mean of |forecast - actual|."""
    return _mean(np.abs(_errors(forecast, actual, observed)))


def root_mean_squared_error(forecast: Numbers, actual: Numbers, observed: Mask) -> float:
    """Return the square root of the mean of (forecast - actual)^2."""
    return float(np.sqrt(_mean(_errors(forecast, actual, observed) ** 2)))


def mean_absolute_scaled_error(
    forecast: Numbers, actual: Numbers, observed: Mask, scale: Numbers
) -> float:
    """Return the mean of |forecast - actual| / scale (MASE).

    scale: what `seasonal_naive_scale` gave for the series of each value, broadcast to the shape of
        the others. Values whose scale is NaN are left out.
    Every value counts alike, so that a series counts by how often it was observed.
    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, International
    Journal of Forecasting 22 (2006).
    """
    wide = np.broadcast_to(np.asarray(scale, dtype=np.float64), actual.shape)
    defined = observed & ~np.isnan(wide)
    return _mean(np.abs(_errors(forecast, actual, defined)) / wide[defined])


def seasonal_naive_scale(values: Numbers, observed: Mask, season: int) -> float:
    """Return the mean of |y[t] - y[t - season]| over one series, the scale of MASE.

    values, observed: (time,), the train split only, on a grid without gaps. A pair counts when
    both of its values are observed. NaN when there is no such pair, or when the mean is zero: a
    series that repeats itself exactly gives no scale to measure an error by.
    """
    pairs = observed[season:] & observed[:-season]
    scale = _mean(np.abs(_errors(values[season:], values[:-season], pairs)))
    return scale if scale > 0 else np.nan


def weighted_quantile_loss(
    forecast: Numbers, actual: Numbers, observed: Mask, quantile_levels: Sequence[float]
) -> float:
    """Return twice the summed pinball loss over the summed |actual|, averaged over levels (WQL).

    forecast: (..., quantile), or the shape of `actual` for a point forecast, which then stands for
        every level. NaN where all actual values are zero.
    Source: mean_wQuantileLoss of GluonTS (arXiv 1906.05264) and WQL of fev.
    """
    losses = _pinball(forecast, actual, observed, quantile_levels)
    size = np.abs(np.asarray(actual, dtype=np.float64)[observed]).sum()
    return float((2 * losses.sum(axis=0) / size).mean()) if size > 0 else np.nan


def crps_by_quantiles(
    forecast: Numbers, actual: Numbers, observed: Mask, quantile_levels: Sequence[float]
) -> float:
    """Return twice the mean pinball loss over levels: the CRPS as far as these levels tell it.

    forecast: (..., quantile), or the shape of `actual` for a point forecast, which then stands for
        every level. In the target's own units.
    The CRPS is twice the integral of the pinball loss over all levels from 0 to 1; this is the
    mean at a few of them, so that it may only be held against another of the same levels. For a
    point forecast, of which the CRPS is the absolute error, it is just that where levels come in
    pairs q and 1 - q.
    Source: Gneiting and Raftery, Strictly proper scoring rules, JASA 102 (2007); Bracher et al.,
    arXiv 2005.12881.
    """
    return _mean(2 * _pinball(forecast, actual, observed, quantile_levels))


def interval_coverage(lower: Numbers, upper: Numbers, actual: Numbers, observed: Mask) -> float:
    """Return the share of values in [lower, upper]."""
    inside = (lower <= actual) & (actual <= upper)
    return _mean(inside[observed].astype(np.float64))


def outermost_interval(quantile_levels: Sequence[float]) -> tuple[int, int] | None:
    """Return the places of the widest pair of levels q and 1 - q; None when there is no pair.

    The interval between them should hold 1 - 2q of all values.
    """
    return next(iter(symmetric_intervals(quantile_levels)), None)


def symmetric_intervals(quantile_levels: Sequence[float]) -> list[tuple[int, int]]:
    """Return the places of every pair of levels q and 1 - q, the widest first."""
    return [
        (low, high)
        for low, level in sorted(enumerate(quantile_levels), key=lambda entry: entry[1])
        for high, other in enumerate(quantile_levels)
        if level < 0.5 and abs(level + other - 1) < _SAME_LEVEL
    ]


def _pinball(
    forecast: Numbers, actual: Numbers, observed: Mask, quantile_levels: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return the pinball loss of each observed value, (value, quantile)."""
    levels = np.asarray(quantile_levels, dtype=np.float64)
    wide = forecast if forecast.ndim > actual.ndim else forecast[..., None]
    truth = np.asarray(actual, dtype=np.float64)[observed]
    error = truth[:, None] - np.asarray(wide, dtype=np.float64)[observed]
    return np.maximum(levels * error, (levels - 1) * error)


def _errors(forecast: Numbers, actual: Numbers, chosen: Mask) -> npt.NDArray[np.float64]:
    return forecast[chosen].astype(np.float64) - actual[chosen].astype(np.float64)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else np.nan
