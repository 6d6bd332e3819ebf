"""What it costs a model in accuracy to lose an edge or a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmts.evaluation.report import Array, WindowForecasts
from mmts.evaluation.subsets import compare
from mmts.model import MultimodalForecaster

Metric = Literal["mae", "rmse", "wql"]
"""What forecasts are compared by; named and defined as in an evaluation."""

INTERVAL = 3
"""Standard errors to either side of a cost; `compare` says why not two."""


@dataclass(frozen=True)
class Cost:
    """By how much an error grows, in percent of what it was, and its standard error.

    value: the metric as it becomes. NaN where a number is not defined: against an error of zero,
    or the standard error from a single block.
    """

    value: float
    percent: float
    standard_error: float

    @property
    def low(self) -> float:
        """Lower end of the interval, in percent."""
        return self.percent - INTERVAL * self.standard_error

    @property
    def high(self) -> float:
        """Upper end of the interval, in percent."""
        return self.percent + INTERVAL * self.standard_error

    @property
    def verdict(self) -> str:
        """Say what can be told: `none` exactly, `not told from 0`, `costs`, `gains`, or `-`."""
        if self.percent == 0 and not self.standard_error > 0:
            return "none"
        if math.isnan(self.low):
            return "-"
        if self.low <= 0 <= self.high:
            return "not told from 0"
        return "costs" if self.low > 0 else "gains"

    def to_json(self) -> dict[str, Any]:
        """Return it with its interval; what is not defined as NaN."""
        return {
            "value": self.value,
            "percent": self.percent,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict,
        }


class CostMeter:
    """Compares forecasts with those of the whole model, on the same windows."""

    def __init__(
        self, base: WindowForecasts, metric: Metric, blocks: npt.NDArray[np.int64]
    ) -> None:
        """Take the forecasts of the whole model; blocks: (window,), the block of each."""
        self.metric = metric
        self.blocks = blocks
        self.errors = self._sum_errors(base)
        observed = base.observed
        size = np.abs(base.actual[observed]).sum() if metric == "wql" else observed.sum()
        self.size = float(size)
        self.value = self._to_value(float(self.errors.sum()))

    def measure(self, windows: WindowForecasts) -> Cost:
        """Return the cost of other forecasts."""
        errors = self._sum_errors(windows)
        change = compare(errors, self.errors)
        value = self._to_value(float(errors.sum()))
        if self.metric != "rmse" or not change.percent > -100:
            return Cost(value, change.percent, change.standard_error)
        # The root of a ratio; its standard error by the slope of the root.
        root = math.sqrt(1 + change.percent / 100)
        return Cost(value, 100 * (root - 1), change.standard_error / (2 * root))

    def _to_value(self, total: float) -> float:
        if self.size == 0:
            return math.nan
        mean = total / self.size
        return math.sqrt(mean) if self.metric == "rmse" else mean

    def _sum_errors(self, windows: WindowForecasts) -> Array:
        """Return what the metric sums, (block,)."""
        by_value = _errors(windows, self.metric)
        by_window = np.where(windows.observed, by_value, 0.0).sum(axis=(1, 2))
        return np.bincount(self.blocks, by_window).astype(np.float64)


@contextmanager
def switched_off(model: MultimodalForecaster, names: Sequence[str]) -> Iterator[None]:
    """Switch edges off for a while; whatever happens, they are then as they were."""
    before = {name: float(model.interaction(name).scale) for name in names}
    try:
        for name in names:
            model.switch_edge(name, 0.0)
        yield
    finally:
        for name, scale in before.items():
            model.switch_edge(name, scale)


def _errors(windows: WindowForecasts, metric: Metric) -> Array:
    """Return the error of each value, (window, horizon, target)."""
    actual = windows.actual
    if metric == "mae":
        return np.abs(windows.point("0.5", "mean") - actual)
    if metric == "rmse":
        return (windows.point("mean", "0.5") - actual) ** 2
    levels = np.array(windows.quantile_levels or (0.5,))
    forecast = windows.quantiles if windows.quantile_levels else windows.point("mean")[..., None]
    missed = actual[..., None] - forecast
    pinball = 2 * np.maximum(levels * missed, (levels - 1) * missed)
    found: Array = pinball.mean(axis=-1)
    return found
