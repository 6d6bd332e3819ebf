"""Forecasts of a model and its baselines from the cut-offs of a backtest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmts.backtest.cutoffs import place_windows
from mmts.baselines.naive import choose_season, forecast_last_value, forecast_seasonal
from mmts.baselines.ridge import fit_ridge
from mmts.data.dataset import Dataset
from mmts.data.gathering import WindowGatherer
from mmts.data.windows import list_origins
from mmts.evaluation.report import LAST_VALUE, RIDGE, SEASONAL_NAIVE, Array, WindowForecasts
from mmts.evaluation.rolling import forecast_windows, gather_splits, naive_scales
from mmts.forecasting import Forecaster


@dataclass(frozen=True)
class CutoffForecasts:
    """What was forecast from one cut-off, in the target's own units.

    windows: of the model, beside what came. baselines: per name, (window, horizon, target).
    scales: of MASE, (item, target), from the train split that model and baselines learned from.
    season: of seasonal naive and of MASE, in steps. ridge: what was chosen for it.
    num_train_windows, epoch: of the model's training.
    """

    cutoff: int
    windows: WindowForecasts
    baselines: dict[str, Array]
    scales: Array
    season: int
    ridge: dict[str, Any]
    num_train_windows: int
    epoch: int


def forecast_at(
    forecaster: Forecaster, dataset: Dataset, moments: tuple[int, ...], begin: int, end: int
) -> Iterator[CutoffForecasts]:
    """Forecast from moments with one model, and with baselines that are fitted once.

    The baselines learn from the train and validation split of the dataset.
    begin, end: no origin lies before, and no target at or after it. Each moment has a window.
    """
    schema = dataset.schema
    target = dataset.streams[schema.target_stream]
    windows, places = place_windows(
        list_origins(target, schema, begin, end), target, schema, moments
    )
    gatherer = WindowGatherer(schema, dataset.streams, windows)
    splits = gather_splits(dataset, {"train", "validation"})
    season = choose_season(splits["validation"])
    ridge = fit_ridge(splits["train"], splits["validation"], dataset.category_sizes)
    forecasts = forecast_windows(forecaster, gatherer)
    baselines = {
        LAST_VALUE: forecaster.unscale_points(forecast_last_value(gatherer)),
        SEASONAL_NAIVE: forecaster.unscale_points(forecast_seasonal(gatherer, season)),
        RIDGE: forecaster.unscale_points(ridge.forecast(gatherer)),
    }
    scales = naive_scales(forecaster, dataset, season)
    for place, moment in enumerate(moments):
        chosen = np.flatnonzero(places.numpy() == place)
        yield CutoffForecasts(
            cutoff=moment,
            windows=forecasts.take(chosen),
            baselines={name: found[chosen] for name, found in baselines.items()},
            scales=scales,
            season=season,
            ridge=ridge.fit.choices(),
            num_train_windows=len(splits["train"]),
            epoch=forecaster.info.epoch,
        )


def pool(forecasts: list[CutoffForecasts]) -> CutoffForecasts:
    """Return the forecasts of all cut-offs as if they came from one; the rest is of the first.

    Each cut-off keeps its own scales of MASE: its items stand behind those of the ones before.
    """
    num_items = len(forecasts[0].scales)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(found.windows, name) for found in forecasts])

    items = [found.windows.items + place * num_items for place, found in enumerate(forecasts)]
    arrays = {name: joined(name) for name in ("origins", "forecast", "actual", "observed")}
    return replace(
        forecasts[0],
        windows=replace(forecasts[0].windows, items=np.concatenate(items), **arrays),
        baselines={
            name: np.concatenate([found.baselines[name] for found in forecasts])
            for name in forecasts[0].baselines
        },
        scales=np.concatenate([found.scales for found in forecasts]),
    )
