"""The clock of a regular stream: a fixed step, or days and months of the calendar.

A day is not always 24 hours and a month no number of days, so that no arithmetic on durations
finds the next row of a daily local or a monthly stream. All times are int64 microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor

from mmts.config_base import MONTH, Config, TimeZone, format_duration, microseconds
from mmts.config_base import Months as MonthCount

DAY = 86_400_000_000
"""Microseconds in a day of 24 hours."""

_FIRST_YEAR, _LAST_YEAR = 1700, 2200
"""Years of which days and months are known; far ones lie on the edge."""

_LONGEST_CHANGE = 4
"""Hours by which no clock on a wall was ever set forward, but for those that left out a date."""

_TYPICAL = {"microsecond": 1, "day": DAY, "month": microseconds(MONTH)}


class Clock(Config):
    """Places in time at which the periods of a stream begin: every so many units from any one.

    A unit is a microsecond, a day in a time zone (23 to 25 hours as a rule), or a month. A date
    that a zone left out, such as 2011-12-30 in Pacific/Apia, is no day.
    offset: microseconds from midnight to when a day begins, by the clock on the wall; a day of the
        gas trade begins at six.
    """

    every: int = Field(gt=0, lt=2**53)
    unit: Literal["microsecond", "day", "month"] = "microsecond"
    time_zone: TimeZone | None = None
    offset: int = Field(0, ge=0, lt=DAY)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.offset and self.unit != "day":
            raise ValueError("offset: only a clock of days has one. Take it out.")
        return self

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
        """A length that no period since 1970 exceeds, in microseconds."""
        return self.every * _lengths_of(self.unit, self.time_zone, self.offset)[1]

    @property
    def shortest(self) -> int:
        """A length that every period since 1970 reaches, in microseconds."""
        return self.every * _lengths_of(self.unit, self.time_zone, self.offset)[0]

    def __str__(self) -> str:
        if self.unit == "month":
            return str(MonthCount(self.every))
        if self.unit == "day":
            zone = f" in {self.time_zone}" if self.time_zone else ""
            begin = pd.Timestamp(self.offset, unit="us").strftime("%H:%M:%S").removesuffix(":00")
            return f"{self.every}d{zone}" + (f" from {begin}" if self.offset else "")
        return format_duration(pd.Timedelta(self.every, "us").to_pytimedelta())

    def whole_steps(self, length: timedelta | MonthCount | int) -> int | None:
        """Return of how many periods a length is, None where of no whole number of them."""
        if isinstance(length, int):
            return length
        if isinstance(length, MonthCount):
            fits, size, step = self.unit == "month", length.count, self.every
        else:
            fits, size, step = self.unit != "month", microseconds(length), self.period
        whole, rest = divmod(size, step)
        return whole if fits and whole and not rest else None

    def advance(self, start: Tensor, steps: Tensor | int) -> Tensor:
        """Return the place so many periods after another one, int64; arguments broadcast."""
        if not self.is_calendar:
            return start + steps * self.every
        edges = self._edges(start.device)
        place = _place_in(edges, start) + steps * self.every
        return edges[place.clamp(0, len(edges) - 1)]

    def elapsed(self, start: Tensor, moment: Tensor | int) -> Tensor:
        """Return how many whole periods lie from a place to a moment, int64; below zero before."""
        moment = torch.as_tensor(moment, device=start.device)
        if not self.is_calendar:
            return torch.div(moment - start, self.every, rounding_mode="floor")
        edges = self._edges(start.device)
        gone = _place_in(edges, moment) - _place_in(edges, start)
        return torch.div(gone, self.every, rounding_mode="floor")

    def places(self, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many whole periods lie from the earliest of the moments to each of them."""
        at = torch.from_numpy(np.ascontiguousarray(moments))
        return self.elapsed(at.min(), at).numpy()

    def floor(self, moment: Tensor) -> Tensor:
        """Return the beginning of the day or month that each moment lies in.

        A clock with a fixed step has no such beginning: any moment may be one.
        """
        if not self.is_calendar:
            return moment
        edges = self._edges(moment.device)
        return edges[_place_in(edges, moment)]

    def _edges(self, device: torch.device) -> Tensor:
        return _edges_on(self.unit, self.time_zone, self.offset, device)


def _place_in(edges: Tensor, moment: Tensor) -> Tensor:
    found = torch.searchsorted(edges, moment.contiguous(), right=True) - 1
    return found.clamp(min=0)


@lru_cache
def _edges_on(unit: str, time_zone: str | None, offset: int, device: torch.device) -> Tensor:
    return torch.from_numpy(_edges_of(unit, time_zone, offset)).to(device)


@lru_cache
def _edges_of(unit: str, time_zone: str | None, offset: int) -> npt.NDArray[np.int64]:
    """Return where days or months begin: the first moment of each that the zone has known."""
    frequency = "D" if unit == "day" else "MS"
    edges = pd.date_range(f"{_FIRST_YEAR}-01-01", f"{_LAST_YEAR}-01-01", freq=frequency)
    edges += pd.Timedelta(offset, "us")
    if time_zone is None:
        return _as_microseconds(edges)
    zone = ZoneInfo(time_zone)
    # Midnight comes twice where clocks are set back at one; the day begins with the first. So it
    # is with any other time of day.
    twice = np.ones(len(edges), dtype=bool)
    local = edges.tz_localize(zone, ambiguous=twice, nonexistent="NaT")
    moments = _as_microseconds(local)
    # Where midnight is skipped, the day begins right after the last moment that was there before.
    skipped = np.asarray(local.isna())
    # A date that was left out is no day of its own, unlike one in which clocks were set forward.
    left_out = np.zeros(len(edges), dtype=bool)
    for hours in (-_LONGEST_CHANGE, _LONGEST_CHANGE):
        near = edges[skipped] + pd.Timedelta(hours, "h")
        found = near.tz_localize(zone, ambiguous=twice[skipped], nonexistent="NaT")
        left_out[skipped] |= np.asarray(found.isna())
    moments[skipped] = [_end_of_gap(edge, zone) for edge in edges[skipped].to_pydatetime()]
    return np.unique(moments[~left_out])


def _end_of_gap(skipped: datetime, zone: ZoneInfo) -> int:
    """Return the moment at which clocks were set forward over a time that they never showed.

    In microseconds. Not by pandas, whose shifts are off where the gap is no whole number of hours,
    or a whole day (3.1).
    """
    # The same time by the clocks as they were before, and as they were after (PEP 495).
    later, earlier = (skipped.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    before = earlier.astimezone(zone).utcoffset()
    step = timedelta(microseconds=1)
    while later - earlier > step:
        middle = earlier + (later - earlier) // 2
        if middle.astimezone(zone).utcoffset() == before:
            earlier = middle
        else:
            later = middle
    return (later - datetime(1970, 1, 1, tzinfo=UTC)) // step


def _as_microseconds(stamps: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    utc = stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)
    return utc.to_numpy(dtype="datetime64[us]").astype(np.int64)


@lru_cache
def _lengths_of(unit: str, time_zone: str | None, offset: int) -> tuple[int, int]:
    """Return the lengths of the shortest and the longest unit, in microseconds.

    Days were up to 48 hours long where the date line moved in the 19th century, which is let go.
    """
    if unit == "microsecond":
        return 1, 1
    edges = _edges_of(unit, time_zone, offset)
    lengths = np.diff(edges[edges >= 0])
    return int(lengths.min()), int(lengths.max())
