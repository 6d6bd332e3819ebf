"""Forecasts by repetition: the last value, and the value one season before.

Both read the windows that the model reads, so they know what was known at the origin and nothing
else. Values are on the scale of the training split, where zero is the mean of the train split.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor

from mmts.config_base import microseconds
from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema
from mmts.linear.targets import BATCH_SIZE, target_only

NO_SEASON = 1
"""The season where none fits: the seasonal naive forecast is then the last value."""

SEASONS = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(weeks=1),
    timedelta(weeks=4),
    timedelta(weeks=52),
    timedelta(days=365),
)

MONTHLY_SEASONS = (3, 12)


def forecast_last_value(windows: WindowGatherer) -> Tensor:
    """Repeat the last target value that was known; returns (window, horizon, target).

    Where a window holds none, the forecast is zero: the mean of the train split.
    """
    return forecast_seasonal(windows, NO_SEASON)


def forecast_seasonal(windows: WindowGatherer, season: int) -> Tensor:
    """Repeat the value one season before each step; returns (window, horizon, target).

    season: in steps. Where that value is not known, because it is missing or not available yet, or
    because it is itself still to come, the forecast goes back by one season more, as far as the
    window reaches; where no such value is known, it is the last value.
    """
    own = target_only(windows)
    return torch.cat([_repeat(batch, windows.schema, season) for batch in own.batches(BATCH_SIZE)])


def candidate_seasons(schema: DataSchema) -> tuple[int, ...]:
    """Return the seasons that fit into the context of the target stream, in steps.

    These are an hour, a day, a week, four weeks, 52 weeks and 365 days, as far as each is a whole
    number of steps, more than one, and no longer than the context: 24 and 168 on an hourly grid
    with a context of a week. On a grid of months they are a quarter and a year.
    """
    steps = []
    by_month = schema.clock.unit == "month"
    for season in MONTHLY_SEASONS if by_month else map(microseconds, SEASONS):
        whole, rest = divmod(season, schema.clock.every if by_month else schema.frequency)
        if rest == 0 and 1 < whole <= schema.target.context_steps:
            steps.append(whole)
    return tuple(steps)


def choose_season(validation: WindowGatherer, candidates: Sequence[int] | None = None) -> int:
    """Return the season with the least absolute error on the validation windows.

    candidates: by default `candidate_seasons`. The error is on the training scale, where every
    target weighs alike; equal errors fall to the shorter season. Returns `NO_SEASON` when there is
    no candidate.
    """
    seasons = candidate_seasons(validation.schema) if candidates is None else tuple(candidates)
    own = target_only(validation)
    errors = dict.fromkeys(seasons, 0.0)
    for batch in own.batches(BATCH_SIZE):
        for season in seasons:
            error = (_repeat(batch, own.schema, season) - batch.target).abs()
            errors[season] += float(error[batch.target_observed].double().sum())
    return min(seasons, key=lambda season: (errors[season], season), default=NO_SEASON)


def _repeat(batch: Batch, schema: DataSchema, season: int) -> Tensor:
    """Return the seasonal naive forecast of a batch, (batch, horizon, target)."""
    window = batch.streams[schema.target_stream]
    channels = schema.target.channels("target")
    values, observed = window.values[..., channels], window.observed[..., channels]
    forecast = _last_value(values, observed)[:, None].repeat(1, schema.horizon, 1)
    if season == NO_SEASON:
        return forecast

    # Origins and rows stand on one grid; months are near enough to their mean to be counted so.
    first_row = (window.start[:, :1] * 1e6 / schema.frequency).round().long()
    steps = torch.arange(schema.horizon)
    found = torch.zeros(forecast.shape, dtype=torch.bool)
    for seasons_back in range(1, (schema.horizon - 1 - int(first_row.min())) // season + 1):
        rows = steps - seasons_back * season - first_row
        inside = ((rows >= 0) & (rows < values.shape[1]))[..., None]
        safe = torch.where(inside, rows[..., None], 0).expand(-1, -1, values.shape[2])
        usable = observed.gather(1, safe) & inside & ~found
        forecast = torch.where(usable, values.gather(1, safe), forecast)
        found |= usable
    return forecast


def _last_value(values: Tensor, observed: Tensor) -> Tensor:
    """Return the last observed value of each target, (batch, target); zero where there is none.

    values, observed: (batch, step, target).
    """
    places = torch.arange(values.shape[1])[:, None]
    last = torch.where(observed, places, -1).amax(dim=1, keepdim=True)
    chosen = values.gather(1, last.clamp(min=0))
    return torch.where(last >= 0, chosen, 0.0)[:, 0]
