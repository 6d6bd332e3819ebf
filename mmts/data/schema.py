"""What the streams of an experiment hold, as found in the files: stored in the checkpoint."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mmts.config_base import Config, TimeZone
from mmts.data.clock import Clock
from mmts.data.config import HOLIDAYS, MAX_BUCKETS, CalendarFeature, ColumnType, Role


class ColumnSchema(Config):
    """One column: its channels in `values` follow those of the columns before it.

    width: channels that it takes; more than one only where text became numbers.
    buckets: of a category whose names are hashed, not listed.
    """

    name: str
    role: Role
    type: ColumnType
    width: int = Field(1, gt=0, le=4096)
    buckets: int | None = Field(None, gt=1, le=MAX_BUCKETS)


class CalendarSchema(Config):
    """A stream that is made up from the calendar."""

    features: tuple[CalendarFeature, ...]
    holidays: str | None = Field(None, pattern=HOLIDAYS)


class StreamSchema(Config):
    """The fixed facts about one stream; durations are integers, in microseconds.

    clock: None for a stream of irregular events, or a static one. A row of a clock describes the
        period that begins there, and is known when that is over and `delay` has passed.
    stamp: what the timestamps of rows mark; stamp_shift: by how much later they stand, such as
        minus one day where months are stamped with the date of their last day.
    days: of events whose stamps tell no time of day; they are known when their day is over.
    available_at: column that tells instead when each row is known; lateness: how long after its
        period that is at least, on a clock, learned from the train split.
    context_steps, future_steps: rows that a window holds before and from its anchor on.
    context_span: age at which an event drops out of the window.
    """

    columns: tuple[ColumnSchema, ...]
    time: str | None
    item: str | None
    has_items: bool
    clock: Clock | None
    stamp: Literal["start", "end", "event"]
    stamp_shift: int = 0
    delay: int
    days: Clock | None = None
    available_at: str | None = None
    lateness: int = 0
    known_ahead: int | None
    calendar: CalendarSchema | None = None
    context_steps: int = Field(gt=0)
    context_span: int = Field(ge=0)
    future_steps: int = Field(ge=0)

    @property
    def is_static(self) -> bool:
        """Whether the stream holds one ageless row per item."""
        return self.time is None and self.calendar is None

    @property
    def is_regular(self) -> bool:
        """Whether rows stand on a clock."""
        return self.clock is not None

    @property
    def num_steps(self) -> int:
        """Rows in a window."""
        return self.context_steps + self.future_steps

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The channels of each column."""
        ends = list(accumulate(column.width for column in self.columns))
        return tuple(
            slice(end - column.width, end) for end, column in zip(ends, self.columns, strict=True)
        )

    @property
    def num_channels(self) -> int:
        """Channels of all columns together."""
        return sum(column.width for column in self.columns)

    def channels(self, *roles: Role) -> list[int]:
        """Return the channels of the columns that have one of these roles."""
        return [
            channel
            for column, place in zip(self.columns, self.slices, strict=True)
            if column.role in roles
            for channel in range(place.start, place.stop)
        ]

    def stamps(self, starts: Tensor) -> Tensor:
        """Return the timestamps of rows whose periods start so, int64 microseconds."""
        if self.stamp == "end" and self.clock is not None:
            ends = self.clock.advance(starts, 1)
            if self.clock.is_calendar and self.stamp_shift:
                # The midnight before, as the last day may have 23 or 25 hours.
                day = Clock(every=1, unit="day", time_zone=self.clock.time_zone)
                return day.floor(ends - 1)
            return ends
        return starts

    @cached_property
    def has_future(self) -> bool:
        """Whether some column is known over the horizon."""
        return bool(self.channels("future"))


class DataSchema(Config):
    """The streams and the forecast grid, which is the clock of the target stream.

    time_zone: of times that a user gives or reads; None for UTC, or for times without a zone.
    """

    streams: dict[str, StreamSchema]
    target_stream: str
    horizon: int = Field(gt=0)
    has_time_zone: bool
    time_zone: TimeZone | None = None

    @property
    def target(self) -> StreamSchema:
        """The schema of the stream that holds the target."""
        return self.streams[self.target_stream]

    @property
    def clock(self) -> Clock:
        """The clock of origins and forecast steps."""
        assert self.target.clock is not None
        return self.target.clock

    @property
    def frequency(self) -> int:
        """The typical length of a forecast step, in microseconds."""
        return self.clock.period

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Names of the columns to forecast."""
        return tuple(column.name for column in self.target.columns if column.role == "target")

    def step_edges(self, origins: Tensor) -> Tensor:
        """Return where forecast steps begin and the last one ends, (window, horizon + 1) int64.

        origins: (window,) int64 microseconds.
        """
        steps = torch.arange(self.horizon + 1, device=origins.device)
        return self.clock.advance(origins[:, None], steps)

    def step_stamps(self, origins: Tensor) -> Tensor:
        """Return the timestamp of each step as the user stamps rows, (window, horizon) int64."""
        return self.target.stamps(self.step_edges(origins)[:, :-1])
