"""Settling what the windows of every stream hold: clock, and rows around an origin."""

from __future__ import annotations

import logging
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from mmts.config_base import Months, format_period, microseconds
from mmts.data.availability import Times, row_availability, row_ends, row_starts, starts_of
from mmts.data.calendar_features import calendar_columns
from mmts.data.clock import Clock
from mmts.data.config import DataConfig, StreamConfig
from mmts.data.detection import (
    FoundClock,
    describe_row,
    faults_of_proportion,
    find_clock,
    first_off_grid,
    has_dates_alone,
    item_with_other_period,
)
from mmts.data.schema import CalendarSchema, ColumnSchema, DataSchema, StreamSchema
from mmts.data.table import Table
from mmts.errors import DataError, raise_all

MAX_EVENTS = 512
"""Events of an irregular stream that a window holds at most when `context_length` is a duration."""

_UNLIMITED = 2**62
"""Span of a context that is given as a number of events."""

logger = logging.getLogger(__name__)


def build_schema(
    config: DataConfig,
    tables: dict[str, Table],
    columns: dict[str, tuple[ColumnSchema, ...]],
) -> DataSchema:
    """Settle clock and window of all streams.

    tables, columns: of all streams but those made up from the calendar.
    Raises DataError when the target stream has no grid, when its rate is not `data.frequency`,
    when a stated frequency is contradicted by a row, when the horizon is no whole number of
    steps, and when only some of the streams state a time zone.
    """
    name = config.target_stream
    found, problems = {}, []
    for stream, table in tables.items():
        if table.times is not None:
            found[stream] = find_clock(table, config.streams[stream])
            problems += _faults_of_clock(table, stream, config.streams[stream], found[stream])
    raise_all(DataError, problems)
    clock = _target_clock(config, tables[name], found[name])
    raise_all(DataError, _faults_of_zones(tables))

    horizon = _horizon_steps(config, clock)
    context = config.streams[name].context_length
    default_span = 7 * horizon * clock.period if context is None else _span_on(context, clock)
    builder = _Builder(clock, horizon, default_span, _first_starts(tables[name], found[name]))
    streams = {}
    for stream, settings in config.streams.items():
        if settings.calendar:
            streams[stream] = builder.calendar_stream(settings)
        else:
            streams[stream] = builder.table_stream(
                settings, tables[stream], columns[stream], found.get(stream)
            )
    return DataSchema(
        streams=streams,
        target_stream=name,
        horizon=horizon,
        has_time_zone=tables[name].has_time_zone,
        time_zone=config.time_zone if tables[name].has_time_zone else None,
    )


class _Builder:
    """Builds the schema of each stream, given the grid of the forecast."""

    def __init__(self, clock: Clock, horizon: int, default_span: int, starts: Times) -> None:
        """Take the target's clock and first rows, the horizon in steps, and the default context."""
        self.clock = clock
        self.horizon = horizon
        self.default_span = default_span
        self.starts = starts

    def calendar_stream(self, stream: StreamConfig) -> StreamSchema:
        """Return the schema of features that are made up on the target's clock."""
        span = self._context_span(stream, self.clock)
        return StreamSchema(
            columns=calendar_columns(stream.calendar, self.clock),
            time=None,
            item=None,
            has_items=False,
            clock=self.clock,
            stamp="start",
            delay=0,
            known_ahead=None,
            calendar=CalendarSchema(features=stream.calendar, holidays=stream.holidays),
            context_steps=-(-span // self.clock.period),
            context_span=span,
            future_steps=self.horizon,
        )

    def table_stream(
        self,
        stream: StreamConfig,
        table: Table,
        columns: tuple[ColumnSchema, ...],
        found: FoundClock | None,
    ) -> StreamSchema:
        """Return the schema of a stream that was read; found: None when it is static."""
        has_future = any(column.role == "future" for column in columns)
        days = None
        clock = None if found is None else found.clock
        if found is None:
            context_steps, span, future_steps = 1, 0, 0
        elif clock is not None:
            span = self._context_span(stream, clock)
            context_steps = -(-span // clock.period)
            future_steps = self._future_steps(table, found) if has_future else 0
        else:
            # How many there really are is learned from the train split, by `fit_schema`.
            context_steps, future_steps = MAX_EVENTS, MAX_EVENTS if has_future else 0
            span = self.default_span
            if isinstance(stream.context_length, int):
                # No window can hold more events than an item has.
                longest = max(1, int((table.end - table.begin).max()))
                context_steps, span = min(stream.context_length, longest), _UNLIMITED
            elif stream.context_length is not None:
                span = _span_on(stream.context_length, self.clock)
            if stream.stamp is None and table.available is None and has_dates_alone(table, stream):
                zone = stream.time_zone if table.has_time_zone else None
                days = Clock(every=1, unit="day", time_zone=zone)
                logger.info(
                    "%s: stamps tell no time of day: a row counts from the end of its day "
                    "(set stamp: event if it is known when the day begins)",
                    table.source,
                )
        return StreamSchema(
            columns=columns,
            time=stream.time,
            item=stream.item,
            has_items=stream.has_items,
            clock=clock,
            stamp="start" if found is None else found.stamp,
            stamp_shift=0 if found is None else found.shift,
            delay=microseconds(stream.delay),
            days=days,
            available_at=stream.available_at,
            known_ahead=None if stream.known_ahead is None else microseconds(stream.known_ahead),
            context_steps=context_steps,
            context_span=span,
            future_steps=future_steps,
        )

    def _context_span(self, stream: StreamConfig, clock: Clock) -> int:
        if stream.context_length is None:
            return self.default_span
        return _span_on(stream.context_length, clock)

    def _future_steps(self, table: Table, found: FoundClock) -> int:
        """Count the rows that touch the horizon: one more where a row may straddle the origin."""
        assert table.times is not None and found.clock is not None
        if found.clock.is_calendar or self.clock.is_calendar:
            if found.clock == self.clock and self.clock.every == 1:
                return self.horizon
            return -(-self.horizon * self.clock.longest // found.clock.shortest) + 1
        period = found.clock.every
        # Each item has a grid of its own: that of the first says nothing of the others.
        phases = np.concatenate([starts_of(table.times, *found), self.starts]) % period
        straddles = self.clock.every % period != 0 or bool((phases != phases[0]).any())
        return -(-self.horizon * self.clock.every // period) + int(straddles)


def fit_schema(schema: DataSchema, tables: dict[str, Table], cut: int) -> DataSchema:
    """Give windows of irregular streams as many places as the train split ever needs.

    A stream on a clock whose rows say when they became known learns how late they are at least,
    so that its windows end where something may be known.
    cut: end of the train split, int64 microseconds. Logs when `MAX_EVENTS` are too few.
    """
    streams = dict(schema.streams)
    for name, stream in schema.streams.items():
        if stream.is_regular and stream.available_at is not None and not stream.has_future:
            streams[name] = _with_lateness(stream, tables[name], cut)
        if stream.is_regular or stream.is_static or stream.context_span == _UNLIMITED:
            continue
        table = tables[name]
        assert table.times is not None
        available = row_availability(table, stream)
        by_time = table.times if stream.has_future else available
        counted = table.times <= cut if stream.has_future else available <= cut
        most = _most_events(table, by_time, stream.context_span, counted)
        if most > MAX_EVENTS:
            logger.warning(
                "stream %r: up to %d events lie in its context; a window holds the last %d",
                name,
                most,
                MAX_EVENTS,
            )
        changes = {"context_steps": min(most, MAX_EVENTS)}
        if stream.has_future:
            horizon = schema.horizon * schema.clock.longest
            # Room for all that lie ahead: those not yet known must take no place from others.
            known = table.times <= cut
            ahead = _most_events(table, table.times, horizon, known)
            changes["future_steps"] = min(ahead, MAX_EVENTS)
        streams[name] = stream.model_copy(update=changes)
    return schema.model_copy(update={"streams": streams})


def _with_lateness(stream: StreamSchema, table: Table, cut: int) -> StreamSchema:
    """Return the schema with the least lateness of the rows that were known at the cut."""
    available = row_availability(table, stream)
    late = available - row_ends(row_starts(table, stream), stream.clock)
    late = late[table.counted() & (available <= cut)]
    lateness = max(0, int(late.min())) if len(late) else 0
    return stream.model_copy(update={"lateness": lateness})


def _most_events(table: Table, reached: Times, span: int, known: npt.NDArray[np.bool_]) -> int:
    """Return how many places the events of at most `span` ago take at any time; at least one.

    reached: (row,), when the place of each row is reached: the order in which rows stand.
    """
    assert table.times is not None
    most = 1
    for _, rows in table.iterate_items():
        chosen = known[rows]
        moments, times = reached[rows][chosen], table.times[rows][chosen]
        order = np.argsort(moments, kind="stable")
        moments = moments[order]
        # A place counts when it, or one before it, holds an event that is young enough.
        latest = np.maximum.accumulate(times[order])
        before = np.searchsorted(latest, moments - span)
        most = max(most, int((np.arange(1, len(times) + 1) - before).max(initial=1)))
    return most


def _faults_of_clock(table: Table, name: str, stream: StreamConfig, found: FoundClock) -> list[str]:
    """Say why a clock that was stated or found cannot be what the rows stand on."""
    place = f"{table.source}, column {stream.time!r}"
    if found.clock is None:
        if found.stamp == "start" and table.available is None and len(table) > 1:
            # A row stamped at its start is known when its period ends; without one nobody knows.
            return [
                f"{place}: the rows stand on no regular grid, so that nobody can say when their "
                f"periods end. For events set data.streams.{name}.stamp: event (known at once) or "
                "end; for months stamped on any day set frequency: 1mo; else state the frequency "
                "to see the first row that is off."
            ]
        return []
    far = faults_of_proportion(table, found, stream.time_zone)
    if far:
        return [f"{place}: {fault}" for fault in far]
    if stream.frequency is not None:
        row = first_off_grid(table, found)
        if row is None:
            return []
        return [
            f"{place}: {describe_row(table, row, stream.time_zone)} does not stand on a grid of "
            f"{format_period(stream.frequency)}. Correct data.streams.{name}.frequency, or leave "
            "it out."
        ]
    other = item_with_other_period(table, found)
    if other is not None:
        item, every = other
        return [
            f"{place}: item {item!r} has a row every {every}, others every {found.clock}. Give it "
            f"a stream of its own, or state data.streams.{name}.frequency if the others are gaps."
        ]
    return []


def _faults_of_zones(tables: dict[str, Table]) -> list[str]:
    zones = {name: t.has_time_zone for name, t in tables.items() if t.times is not None}
    if len(set(zones.values())) < 2:
        return []
    without = ", ".join(name for name, has_zone in zones.items() if not has_zone)
    return [
        f"streams {without}: timestamps have no UTC offset, while those of other streams do. "
        "Set data.time_zone to the zone that they are local to (UTC if it is that), or write all "
        "streams with an offset (2013-10-01T14:00:00Z), or none."
    ]


def _target_clock(config: DataConfig, table: Table, found: FoundClock) -> Clock:
    if found.clock is None:
        raise DataError(
            f"{table.source}: the rows of the target stream stand on no regular grid. State "
            f"data.streams.{config.target_stream}.frequency to see the first row that is off."
        )
    if config.frequency is not None:
        stated = config.frequency
        if isinstance(stated, Months):
            fits = found.clock.unit == "month" and found.clock.every == stated.count
        else:
            fits = found.clock.unit != "month" and found.clock.period == microseconds(stated)
        if not fits:
            raise DataError(
                f"data.frequency: {format_period(stated)}, but {table.source} has a row every "
                f"{found.clock}. The forecast stands on the grid of the target stream; take out "
                "data.frequency."
            )
    return found.clock


def _horizon_steps(config: DataConfig, clock: Clock) -> int:
    length = config.horizon
    whole = clock.whole_steps(length)
    if whole is None:
        assert not isinstance(length, int)
        raise DataError(
            f"data.horizon: {format_period(length)} is no whole number of steps of {clock}. "
            "Choose a multiple, or a number of steps."
        )
    return whole


def _span_on(length: timedelta | Months | int, clock: Clock) -> int:
    """Return a length in microseconds, months and steps at their typical length."""
    if isinstance(length, int):
        return length * clock.period
    if isinstance(length, Months):
        if clock.unit == "month":
            return -(-length.count // clock.every) * clock.period
        return microseconds(length.as_duration())
    return microseconds(length)


def _first_starts(table: Table, found: FoundClock) -> Times:
    """Return when the first row of each item begins, (item,)."""
    assert table.times is not None
    first = [rows.start for _, rows in table.iterate_items()]
    return starts_of(table.times[first], *found)
