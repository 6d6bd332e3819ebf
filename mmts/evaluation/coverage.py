"""How often what came lay where the quantiles said, beside how often it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmts import metrics
from mmts.checkpoint import CheckpointInfo
from mmts.evaluation.report import ALL_TARGETS, WindowForecasts, to_plain


@dataclass(frozen=True)
class Coverage:
    """The share of observed values between two quantiles; below one, where `lower` is None.

    lower, upper: levels. nominal: the share that should lie there. observed: the share that did,
    over all steps of the horizon, and by_step; NaN where nothing was observed.
    """

    lower: float | None
    upper: float
    nominal: float
    observed: float
    by_step: tuple[float, ...]


CoverageByTarget = dict[str, tuple[Coverage, ...]]


def measure_coverage(windows: WindowForecasts, targets: Sequence[str]) -> CoverageByTarget:
    """Measure every level and every pair of levels, per target and for `ALL_TARGETS`.

    First the pairs q and 1 - q, the widest first, then each level by itself. Empty per target for
    a model that gives no quantiles.
    """
    levels = windows.quantile_levels
    places = {name: slice(place, place + 1) for place, name in enumerate(targets)}
    pairs: list[tuple[int | None, int]] = [*metrics.symmetric_intervals(levels)]
    pairs += [(None, place) for place in range(len(levels))]
    return {
        name: tuple(_measure(windows, place, low, high) for low, high in pairs)
        for name, place in {**places, ALL_TARGETS: slice(None)}.items()
    }


def coverage_table(found: Mapping[str, Sequence[Coverage]]) -> pd.DataFrame:
    """Return a row per target, pair of levels or level, and step; no step for all steps.

    `lower` is missing where all values below `upper` are meant.
    """
    rows = [
        {
            "target": target,
            "step": step,
            "lower": coverage.lower,
            "upper": coverage.upper,
            "nominal": coverage.nominal,
            "observed": observed,
        }
        for target, coverages in found.items()
        for coverage in coverages
        for step, observed in enumerate((coverage.observed, *coverage.by_step))
    ]
    columns = ["target", "step", "lower", "upper", "nominal", "observed"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(step=table["step"].astype("Int64").mask(table["step"] == 0))


def coverage_to_json(found: Mapping[str, Sequence[Coverage]]) -> dict[str, Any]:
    """Return it as plain JSON values; null where a share is not defined."""
    plain: dict[str, Any] = to_plain(
        {target: [asdict(coverage) for coverage in found[target]] for target in found}
    )
    return plain


def describe_calibration(info: CheckpointInfo) -> str:
    """Say whether the quantiles of a checkpoint are calibrated, and on what."""
    calibration = info.calibration
    if calibration is None:
        return "quantiles not calibrated"
    dates = {name: (first, end) for name, first, end in info.split.dates(info.data_schema)}
    first, end = dates["validation"]
    return (
        f"quantiles calibrated on validation, {first} to {end}: "
        f"{calibration.num_windows:,} windows, {calibration.num_apart:,} of which do not overlap"
    )


def _measure(windows: WindowForecasts, target: slice, low: int | None, high: int) -> Coverage:
    levels = windows.quantile_levels
    quantiles, actual = windows.quantiles[:, :, target], windows.actual[:, :, target]
    observed = windows.observed[:, :, target]
    lower = np.full_like(actual, -np.inf) if low is None else quantiles[..., low]
    upper = quantiles[..., high]

    def share(steps: slice) -> float:
        part = (slice(None), steps)
        return metrics.interval_coverage(lower[part], upper[part], actual[part], observed[part])

    return Coverage(
        lower=None if low is None else levels[low],
        upper=levels[high],
        nominal=levels[high] - (0.0 if low is None else levels[low]),
        observed=share(slice(None)),
        by_step=tuple(share(slice(step, step + 1)) for step in range(actual.shape[1])),
    )
