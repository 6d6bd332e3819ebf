"""Scoring forecasts of the same windows alike."""

from __future__ import annotations

import math

import numpy as np

from mmts import metrics
from mmts.evaluation.report import ALL_TARGETS, Array, Scores, TargetScores, WindowForecasts


class Scorer:
    """Scores forecasts of the same windows."""

    def __init__(self, windows: WindowForecasts, scales: Array, targets: tuple[str, ...]) -> None:
        """Take what came; scales: of MASE, (item, target)."""
        self.windows = windows
        self.scales = np.broadcast_to(scales[windows.items][:, None], windows.actual.shape)
        self.levels = windows.quantile_levels or (0.5,)
        self.interval = metrics.outermost_interval(windows.quantile_levels)
        self.places: dict[str, slice] = {ALL_TARGETS: slice(None)}
        self.places |= {name: slice(place, place + 1) for place, name in enumerate(targets)}

    def score_model(self) -> dict[str, TargetScores]:
        quantiles = self.windows.quantiles if self.windows.quantile_levels else None
        point, mean = self.windows.point("0.5", "mean"), self.windows.point("mean", "0.5")
        return self._score_targets(point, mean, quantiles)

    def score_point(self, forecast: Array) -> dict[str, TargetScores]:
        return self._score_targets(forecast, forecast, None)

    def _score_targets(
        self, point: Array, mean: Array, quantiles: Array | None
    ) -> dict[str, TargetScores]:
        steps = range(point.shape[1])
        return {
            name: TargetScores(
                self._score(point, mean, quantiles, slice(None), target),
                tuple(
                    self._score(point, mean, quantiles, slice(step, step + 1), target)
                    for step in steps
                ),
            )
            for name, target in self.places.items()
        }

    def _score(
        self, point: Array, mean: Array, quantiles: Array | None, steps: slice, targets: slice
    ) -> Scores:
        part = (slice(None), steps, targets)
        actual, observed = self.windows.actual[part], self.windows.observed[part]
        coverage = math.nan
        if quantiles is not None and self.interval is not None:
            lower, upper = (quantiles[part][..., side] for side in self.interval)
            coverage = metrics.interval_coverage(lower, upper, actual, observed)
        spread = point if quantiles is None else quantiles
        scales = self.scales[part]
        return Scores(
            mae=metrics.mean_absolute_error(point[part], actual, observed),
            rmse=metrics.root_mean_squared_error(mean[part], actual, observed),
            mase=metrics.mean_absolute_scaled_error(point[part], actual, observed, scales),
            wql=metrics.weighted_quantile_loss(spread[part], actual, observed, self.levels),
            coverage=coverage,
            crps_by_quantiles=metrics.crps_by_quantiles(
                spread[part], actual, observed, self.levels
            ),
        )
