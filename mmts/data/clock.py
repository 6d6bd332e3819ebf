"""The clock of a regular stream: a fixed step, or days and months of the calendar.

A day is not always 24 hours and a month no number of days, so that no arithmetic on durations
finds the next row of a daily local or a monthly stream. All times are int64 microseconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from mmts.config_base import MONTH, Config, TimeZone, format_duration, microseconds
from mmts.config_base import Months as MonthCount

DAY = 86_400_000_000
"""Microseconds in a day of 24 hours."""

_FIRST_YEAR, _LAST_YEAR = 1700, 2200
"""Years of which days and months are known; far ones lie on the edge."""

_LONGEST = {"microsecond": 1, "day": 25 * DAY // 24, "month": 31 * DAY}
_SHORTEST = {"microsecond": 1, "day": 23 * DAY // 24, "month": 28 * DAY}
_TYPICAL = {"microsecond": 1, "day": DAY, "month": microseconds(MONTH)}


class Clock(Config):
    """Places in time at which the periods of a stream begin: every so many units from any one.

    A unit is a microsecond, a day in a time zone (23 to 25 hours), or a month.
    """

    every: int = Field(gt=0)
    unit: Literal["microsecond", "day", "month"] = "microsecond"
    time_zone: TimeZone | None = None

    @property
    def is_calendar(self) -> bool:
        """Whether periods differ in length."""
        return self.unit != "microsecond"

    @property
    def period(self) -> int:
        """The typical length of a period, in microseconds."""
        return self.every * _TYPICAL[self.unit]

    @property
    def longest(self) -> int:
        """The greatest length of a period, in microseconds."""
        return self.every * _LONGEST[self.unit]

    @property
    def shortest(self) -> int:
        """The least length of a period, in microseconds."""
        return self.every * _SHORTEST[self.unit]

    def __str__(self) -> str:
        if self.unit == "month":
            return str(MonthCount(self.every))
        if self.unit == "day":
            return f"{self.every}d in {self.time_zone}"
        return format_duration(pd.Timedelta(self.every, "us").to_pytimedelta())

    def advance(self, start: Tensor, steps: Tensor | int) -> Tensor:
        """Return the place so many periods after another one, int64; arguments broadcast."""
        if not self.is_calendar:
            return start + steps * self.every
        edges = _edges_on(self.unit, self.time_zone, start.device)
        place = _place_in(edges, start) + steps * self.every
        return edges[place.clamp(0, len(edges) - 1)]

    def elapsed(self, start: Tensor, moment: Tensor | int) -> Tensor:
        """Return how many whole periods lie from a place to a moment, int64; below zero before."""
        moment = torch.as_tensor(moment, device=start.device)
        if not self.is_calendar:
            return torch.div(moment - start, self.every, rounding_mode="floor")
        edges = _edges_on(self.unit, self.time_zone, start.device)
        gone = _place_in(edges, moment) - _place_in(edges, start)
        return torch.div(gone, self.every, rounding_mode="floor")

    def floor(self, moment: Tensor) -> Tensor:
        """Return the beginning of the day or month that each moment lies in.

        A clock with a fixed step has no such beginning: any moment may be one.
        """
        if not self.is_calendar:
            return moment
        edges = _edges_on(self.unit, self.time_zone, moment.device)
        return edges[_place_in(edges, moment)]


def _place_in(edges: Tensor, moment: Tensor) -> Tensor:
    found = torch.searchsorted(edges, moment.contiguous(), right=True) - 1
    return found.clamp(min=0)


@lru_cache
def _edges_on(unit: str, time_zone: str | None, device: torch.device) -> Tensor:
    frequency = "D" if unit == "day" else "MS"
    edges = pd.date_range(f"{_FIRST_YEAR}-01-01", f"{_LAST_YEAR}-01-01", freq=frequency)
    if time_zone is not None:
        # Midnight may be skipped or come twice where clocks are changed at midnight.
        twice = np.ones(len(edges), dtype=bool)
        local = edges.tz_localize(time_zone, ambiguous=twice, nonexistent="shift_forward")
        edges = local.tz_convert("UTC").tz_localize(None)
    return torch.from_numpy(edges.to_numpy(dtype="datetime64[us]").astype(np.int64)).to(device)
