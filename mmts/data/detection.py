"""Finding the clock of every stream: its rate, its window, and the grid of the forecast."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmts.config_base import format_duration, microseconds
from mmts.data.config import DataConfig, StreamConfig
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.tables import Table, format_times, iterate_items
from mmts.errors import DataError, raise_all

MAX_EVENTS = 512
"""Events of an irregular stream that a window holds at most when `context_length` is a duration."""

_UNLIMITED = 2**62
"""Span of a context that is given as a number of events."""

logger = logging.getLogger(__name__)

MAX_GRID_GROWTH = 10
"""Grid rows per row of a file above which a stream counts as irregular, not as one with gaps."""


def detect_period(table: Table) -> int:
    """Return the time from row to row, in microseconds, or 0 when the rows stand on no grid.

    The period is the most frequent step; gaps are allowed, rows between two grid places are not.
    """
    assert table.times is not None
    steps = np.concatenate([np.diff(table.times[rows]) for _, rows in iterate_items(table)])
    if not len(steps):
        return 0
    distinct, counts = np.unique(steps, return_counts=True)
    period = int(distinct[counts.argmax()])
    if first_off_grid(table, period) is not None:
        return 0
    grid_rows = int(steps.sum()) // period + 1
    return period if grid_rows <= MAX_GRID_GROWTH * len(table) else 0


def first_off_grid(table: Table, period: int) -> int | None:
    """Return the first row that does not stand on its item's grid of `period`."""
    assert table.times is not None
    for _, rows in iterate_items(table):
        times = table.times[rows]
        off = (times - times[0]) % period != 0
        if off.any():
            return int(rows.start) + int(off.argmax())
    return None


def build_schema(
    config: DataConfig,
    tables: dict[str, Table],
    columns: dict[str, tuple[ColumnSchema, ...]],
) -> DataSchema:
    """Settle rate, window and grid of all streams.

    Raises DataError when the target stream has no grid, when its rate is not `data.frequency`,
    when a stated frequency is contradicted by a row, when the horizon is no whole number of
    steps, and when only some of the streams state a time zone.
    """
    target_name = config.target_stream
    target_table = tables[target_name]
    problems = []
    periods = {}
    for name, table in tables.items():
        stream = config.streams[name]
        periods[name] = 0 if table.times is None else _period_of(table, stream)
        if table.times is not None and stream.frequency is None and stream.stamp != "event":
            problems += _faults_of_period(table, name, stream, periods[name])
        if stream.frequency is not None and table.times is not None:
            row = first_off_grid(table, periods[name])
            if row is not None:
                stamp = format_times(table.times[row : row + 1], table.has_time_zone)[0]
                problems.append(
                    f"{table.source}, column {stream.time!r}: {stamp} does not stand on a grid of "
                    f"{format_duration(stream.frequency)}. "
                    f"Correct data.streams.{name}.frequency, or leave it out."
                )
    raise_all(DataError, problems)

    frequency = _grid_of(config, target_name, periods[target_name], target_table)
    zones = {name: t.has_time_zone for name, t in tables.items() if t.times is not None}
    if len(set(zones.values())) > 1:
        without = ", ".join(name for name, has_zone in zones.items() if not has_zone)
        raise DataError(
            f"streams {without}: timestamps have no UTC offset, while those of other streams do. "
            "Write all streams with an offset (2013-10-01T14:00:00Z), or none."
        )
    horizon_span = _span_of(config.horizon, frequency)
    if horizon_span % frequency:
        raise DataError(
            f"data.horizon: {_words(horizon_span)} is no whole number of steps of "
            f"{_words(frequency)}. Choose a multiple."
        )
    target_context = config.streams[target_name].context_length
    default_span = 7 * horizon_span
    if target_context is not None:
        default_span = _span_of(target_context, frequency)
    assert target_table.times is not None
    # Whether stamps mark the start or the end of a period, they stand on the same grid.
    grid = _Grid(frequency, horizon_span, target_table.times)
    streams = {
        name: _build_stream_schema(
            config.streams[name], table, columns[name], periods[name], default_span, grid
        )
        for name, table in tables.items()
    }
    return DataSchema(
        streams=streams,
        target_stream=target_name,
        horizon=horizon_span // frequency,
        frequency=frequency,
        has_time_zone=zones[target_name],
    )


class _Grid(NamedTuple):
    """The grid of origins and forecast steps, in microseconds; times: of the target's rows."""

    frequency: int
    horizon: int
    times: npt.NDArray[np.int64]


def _period_of(table: Table, stream: StreamConfig) -> int:
    if stream.stamp == "event":
        return 0
    if stream.frequency is not None:
        return microseconds(stream.frequency)
    return detect_period(table)


def _faults_of_period(table: Table, name: str, stream: StreamConfig, period: int) -> list[str]:
    """Say why a period that was found, or not found, cannot be what the rows cover."""
    if period == 0 and stream.stamp == "start" and len(table) > 1:
        # A row stamped at its start is known when its period ends; without one nobody knows when.
        return [
            f"{table.source}, column {stream.time!r}: the rows stand on no regular grid, so that "
            f"nobody can say when their periods end. For events set data.streams.{name}.stamp: "
            "event (known at once) or end; else state the frequency to see the first row that is "
            "off."
        ]
    other = item_with_other_period(table, period)
    if period and other is not None:
        item, found = other
        return [
            f"{table.source}, column {stream.time!r}: item {item!r} has a row every "
            f"{_words(found)}, others every {_words(period)}. Give it a stream of its own, or "
            f"state data.streams.{name}.frequency if the others are gaps."
        ]
    return []


def item_with_other_period(table: Table, period: int) -> tuple[str | None, int] | None:
    """Return the first item whose most frequent step is another one, and that step."""
    assert table.times is not None
    for item, rows in iterate_items(table):
        distinct, counts = np.unique(np.diff(table.times[rows]), return_counts=True)
        if len(distinct) and counts.max() > 1 and distinct[counts.argmax()] != period:
            return item, int(distinct[counts.argmax()])
    return None


def _grid_of(config: DataConfig, name: str, period: int, table: Table) -> int:
    if period == 0:
        raise DataError(
            f"{table.source}: the rows of the target stream stand on no regular grid. "
            f"State data.streams.{name}.frequency to see the first row that is off."
        )
    if config.frequency is not None and microseconds(config.frequency) != period:
        raise DataError(
            f"data.frequency: {format_duration(config.frequency)}, but {table.source} has a row "
            f"every {_words(period)}. The forecast stands on the grid of the target stream; "
            "take out data.frequency."
        )
    return period


def _build_stream_schema(
    stream: StreamConfig,
    table: Table,
    columns: tuple[ColumnSchema, ...],
    period: int,
    default_span: int,
    grid: _Grid,
) -> StreamSchema:
    has_future = any(column.role == "future" for column in columns)
    context = stream.context_length
    if table.times is None:
        context_steps, span, future_steps = 1, 0, 0
    elif period:
        span = default_span if context is None else _span_of(context, period)
        context_steps = -(-span // period)
        future_steps = _future_steps(table.times, period, grid) if has_future else 0
    else:
        span = default_span if not isinstance(context, timedelta) else microseconds(context)
        # How many there really are is learned from the train split, by `fit_event_counts`.
        context_steps, future_steps = MAX_EVENTS, MAX_EVENTS if has_future else 0
        if isinstance(context, int):
            context_steps, span = context, _UNLIMITED
    return StreamSchema(
        columns=columns,
        time=stream.time,
        item=stream.item,
        stamp=stream.stamp,
        period=period,
        cover=period,
        delay=microseconds(stream.delay),
        known_ahead=None if stream.known_ahead is None else microseconds(stream.known_ahead),
        context_steps=context_steps,
        context_span=span,
        future_steps=future_steps,
    )


def _future_steps(times: npt.NDArray[np.int64], period: int, grid: _Grid) -> int:
    """Count the rows that touch the horizon: one more where a row may straddle the origin."""
    phases = np.concatenate([times, grid.times]) - grid.times[0]
    straddles = grid.frequency % period != 0 or (phases % period != 0).any()
    return -(-grid.horizon // period) + int(straddles)


def fit_event_counts(schema: DataSchema, tables: dict[str, Table], cut: int) -> DataSchema:
    """Give windows of irregular streams as many places as the train split ever needs.

    cut: end of the train split, int64 microseconds. Logs when `MAX_EVENTS` are too few.
    """
    streams = dict(schema.streams)
    for name, stream in schema.streams.items():
        if stream.is_regular or stream.is_static or stream.context_span == _UNLIMITED:
            continue
        most = _most_events(tables[name], stream.context_span, cut - stream.lag)
        if most > MAX_EVENTS:
            logger.warning(
                "stream %r: up to %d events lie in its context; a window holds the last %d",
                name,
                most,
                MAX_EVENTS,
            )
        changes = {"context_steps": min(most, MAX_EVENTS)}
        if stream.has_future:
            horizon = schema.horizon * schema.frequency
            changes["future_steps"] = min(_most_events(tables[name], horizon, cut), MAX_EVENTS)
        streams[name] = stream.model_copy(update=changes)
    return schema.model_copy(update={"streams": streams})


def _most_events(table: Table, span: int, cut: int) -> int:
    """Return how many events lie within `span` at most, up to a moment; at least one."""
    assert table.times is not None
    most = 1
    for _, rows in iterate_items(table):
        times = table.times[rows]
        times = times[times <= cut]
        before = np.searchsorted(times, times - span, side="right")
        most = max(most, int((np.arange(1, len(times) + 1) - before).max(initial=1)))
    return most


def _span_of(length: timedelta | int, period: int) -> int:
    if isinstance(length, int):
        return length * period
    return microseconds(length)


def _words(span: int) -> str:
    return format_duration(timedelta(microseconds=span))


def row_starts(table: Table, schema: StreamSchema) -> npt.NDArray[np.int64]:
    """Return when the period of each row begins, whatever a timestamp marks."""
    assert table.times is not None
    return table.times - schema.cover if schema.stamp == "end" else table.times
