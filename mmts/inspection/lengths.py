"""Horizon, context, split and size of the training: fitted to rate and length of the target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.config_base import Months, format_period, microseconds, parse_duration, parse_months
from mmts.errors import DataError
from mmts.inspection.columns import Column
from mmts.inspection.file_report import FileReport

_MINUTE, _HOUR, _DAY = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
_MOST_DAY_STEPS = 288
"""Steps of a day up to which a day is a fitting horizon: rows of five minutes."""

_MANY_ROWS = 720
"""Rows of context where those of a week would be too many."""

_TRAIN, _TEST = 0.7, 0.85
_LEAST_ROWS = 20

SMALL, LARGE = 2_000, 20_000
"""Training windows below which a small model does, and above which fewer epochs do."""


@dataclass(frozen=True)
class Lengths:
    """Settings of time, as the config has them, each with the reason in words.

    horizon_steps, context_steps: rows of the target stream. validation, test: begin of the
    splits. num_train_rows, num_windows: of the train split.
    """

    horizon: str
    horizon_steps: int
    horizon_why: str
    context: str
    context_steps: int
    context_why: str
    validation: str
    test: str
    num_rows: tuple[int, int, int]
    num_windows: int
    begin: int
    train_end: int
    end: int


def horizon_steps(wanted: str | None, report: FileReport) -> int:
    """Return the horizon in rows of the target's file; by default what its rate suggests.

    Raises DataError when what is wanted is no length, or no whole number of rows.
    """
    assert report.rhythm is not None and report.rhythm.period is not None
    period = report.rhythm.period
    if wanted is None:
        return _default_horizon(period)
    words = format_period(period)
    if wanted.strip().isdecimal() and int(wanted) > 0:
        return int(wanted)
    months, span = parse_months(wanted), timedelta()
    if months is None:
        with suppress(ValueError):
            span = parse_duration(wanted)
    if isinstance(period, Months):
        if months is not None and months.count % period.count == 0:
            return months.count // period.count
    elif span > timedelta() and span % period == timedelta():
        return span // period
    if months is None and not span:
        raise DataError(
            f"--horizon {wanted}: not a length. Write a duration such as 24h or 7d, or a number "
            "of rows."
        )
    raise DataError(
        f"--horizon {wanted}: no whole number of rows; {report.path} has one every {words}. "
        f"Write a multiple of it, such as {4 * length_words(period)[0]}{length_words(period)[1]}, "
        "or a number of rows."
    )


def length_words(period: timedelta | Months) -> tuple[int, str]:
    """Return count and unit of a period, such as 15 and 'min'."""
    words = format_period(period)
    unit = words.lstrip("0123456789.")
    return int(float(words.removesuffix(unit))), unit


def _default_horizon(period: timedelta | Months) -> int:
    if isinstance(period, Months):
        return {1: 6, 3: 4, 12: 3}.get(period.count, 4)
    if period < _DAY:
        steps = max(1, round(_DAY / period))
        return steps if steps <= _MOST_DAY_STEPS else 60
    return 7 if period == _DAY else 4


def _default_context(period: timedelta | Months, horizon: int) -> tuple[int, str]:
    """Return the rows of several seasons, and what these are."""
    if isinstance(period, Months):
        return max(36 // period.count, 8), "three years" if period.count <= 3 else "years are few"
    if period < _DAY:
        rows = round(7 * _DAY / period)
        if rows <= 7 * 144:
            return max(rows, 2 * horizon), "a week, so that each weekday is in it"
        rows = max(_MANY_ROWS, 2 * horizon)
        return _whole_seasons(rows, period), "a week would be very many"
    if period < timedelta(days=7):
        return max(round(56 * _DAY / period), 2 * horizon), "eight weeks"
    return max(round(364 * _DAY / period), 2 * horizon), "a year"


def choose_lengths(report: FileReport, targets: list[Column], horizon: int, given: bool) -> Lengths:
    """Fit context and split to the rows from the first to the last value of a target.

    horizon: in rows; given: whether the user named it. Raises DataError when the rows are too few.
    """
    assert report.times is not None and report.rhythm is not None
    period = report.rhythm.period
    assert period is not None
    observed = np.any([np.isfinite(c.values) for c in targets if c.values is not None], axis=0)
    moments = report.times.moments
    begin, last = int(moments[observed].min()), int(moments[observed].max())
    if isinstance(period, Months):
        # A row that is stamped with the last day of its month tells of the whole month.
        begin, last = _month_of(begin), _month_of(last)
    rows = places_between(begin, last, period) + 1
    train, test = int(rows * _TRAIN), int(rows * _TEST)
    most = min(test - train, rows - test)
    if rows < _LEAST_ROWS or (given and horizon > most):
        raise DataError(
            f"{report.path}: {rows} rows from the first to the last value of the target are too "
            f"few for a horizon of {horizon}: {most} are left for the test. Give a longer file"
            + (" or a shorter horizon." if given else ".")
        )
    shortened = horizon > most
    horizon = min(horizon, max(1, most // 2)) if shortened else horizon
    context, seasons = _default_context(period, horizon)
    longest = _longest_series(report, begin, advance(begin, period, train))
    room = max(1, (longest - horizon) // 3)
    why = seasons
    if context > room:
        context = _whole_seasons(room, period)
        why = f"less than {seasons.split(',')[0]}: the train split is short"
    if longest < context + horizon:
        raise DataError(
            f"{report.path}: no item has more than {longest} rows before the validation split, too "
            f"few for a horizon of {horizon}. Give longer series."
        )
    validation, test_begin = advance(begin, period, train), advance(begin, period, test)
    if not isinstance(period, Months) and period < _DAY and rows * period > timedelta(days=60):
        day = microseconds(_DAY)
        validation, test_begin = validation - validation % day, test_begin - test_begin % day
    counts = (
        places_between(begin, validation, period),
        places_between(validation, test_begin, period),
        places_between(test_begin, last, period) + 1,
    )
    zone = report.times.has_time_zone
    return Lengths(
        horizon=_words_of(horizon, period),
        horizon_steps=horizon,
        horizon_why=_words_of_horizon(horizon, period, given, shortened),
        context=_words_of(context, period, as_duration=True),
        context_steps=context,
        context_why=f"{context:,} rows: {why}",
        # Where the file goes on, nobody knows yet where its last part begins.
        validation=str(_TRAIN) if report.table.is_partial else write_time(validation, zone),
        test=str(_TEST) if report.table.is_partial else write_time(test_begin, zone),
        num_rows=counts,
        num_windows=_count_windows(report, observed, validation, context, horizon),
        begin=begin,
        train_end=validation,
        end=last,
    )


def _whole_seasons(rows: int, period: timedelta | Months) -> int:
    """Round down to whole days, weeks or years, where there is one."""
    if isinstance(period, Months):
        season = max(1, 12 // period.count)
    elif period < _DAY:
        season = max(1, round(_DAY / period))
    else:
        season = 7 if period == _DAY else 1
    return rows - rows % season if rows >= season else rows


def _words_of_horizon(
    horizon: int, period: timedelta | Months, given: bool, shortened: bool
) -> str:
    said = f"{horizon} rows of {format_period(period)}"
    if given:
        return said
    return f"{said}; {'all that the short test split allows' if shortened else 'choose yours'}"


def _words_of(steps: int, period: timedelta | Months, as_duration: bool = False) -> str:
    if isinstance(period, Months):
        return str(Months(steps * period.count)) if as_duration else str(steps)
    if not as_duration and period >= _DAY:
        return str(steps)
    span = steps * period
    if span % _DAY == timedelta() and span == _DAY:
        return "24h"
    return format_period(span)


def _month_of(moment: int) -> int:
    month = np.datetime64(moment, "us").astype("datetime64[M]")
    return int(month.astype("datetime64[us]").astype(np.int64))


def advance(begin: int, period: timedelta | Months, steps: int) -> int:
    """Return the place of a grid so many rows after another, int64 microseconds."""
    if not isinstance(period, Months):
        return begin + steps * microseconds(period)
    start = np.datetime64(begin, "us")
    month = start.astype("datetime64[M]")
    moved = (month + steps * period.count).astype("datetime64[us]") + (start - month)
    return int(moved.astype(np.int64))


def places_between(begin: int, end: int, period: timedelta | Months) -> int:
    """Return how many rows of a grid lie from one place to another."""
    if not isinstance(period, Months):
        return (end - begin) // microseconds(period)
    months = np.array([begin, end]).astype("datetime64[us]").astype("datetime64[M]")
    return int(np.diff(months.astype(np.int64))[0]) // period.count


def write_time(moment: int, has_time_zone: bool) -> str:
    """Write a moment as YAML has it: a date where it is midnight."""
    stamp = pd.Timestamp(moment, unit="us")
    if stamp == stamp.normalize() and not has_time_zone:
        return stamp.strftime("%Y-%m-%d")
    return stamp.strftime("%Y-%m-%dT%H:%M:%S") + ("Z" if has_time_zone else "")


def _longest_series(report: FileReport, begin: int, cut: int) -> int:
    """Return the most rows of the grid that an item has from a moment to the cut."""
    period, longest = _period(report), 0
    for moments, _ in _by_item(report, None):
        start, end = max(int(moments.min()), begin), min(int(moments.max()), cut)
        longest = max(longest, places_between(start, end, period) if start < end else 0)
    return longest


def _count_windows(
    report: FileReport, observed: npt.NDArray[np.bool_], cut: int, context: int, horizon: int
) -> int:
    """Count the origins of the train split with a full context and a value in their horizon.

    observed: (row,), whether a row has a value of a target.
    """
    period, count = _period(report), 0
    for moments, has_value in _by_item(report, observed):
        first = int(moments.min())
        end = min(advance(int(moments.max()), period, 1), cut)
        num_rows = places_between(first, end, period) if first < end else 0
        places = _places_of(moments[has_value], first, period)
        # A value at a place is in the horizon of this origin and of those before it.
        opens, closes = np.zeros(num_rows + 1, dtype=np.int64), np.zeros(num_rows + 1, np.int64)
        np.add.at(opens, np.clip(places - horizon + 1, 0, num_rows), 1)
        np.add.at(closes, np.clip(places + 1, 0, num_rows), 1)
        holds_value = np.cumsum(opens - closes)[:num_rows] > 0
        count += int(holds_value[context : max(context, num_rows - horizon + 1)].sum())
    return count


def _period(report: FileReport) -> timedelta | Months:
    assert report.rhythm is not None and report.rhythm.period is not None
    return report.rhythm.period


def _places_of(
    moments: npt.NDArray[np.int64], first: int, period: timedelta | Months
) -> npt.NDArray[np.int64]:
    if not isinstance(period, Months):
        return (moments - first) // microseconds(period)
    months = moments.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    begin = np.datetime64(first, "us").astype("datetime64[M]").astype(np.int64)
    places: npt.NDArray[np.int64] = (months - begin) // period.count
    return places


def _by_item(
    report: FileReport, mask: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Yield the moments of each item, and its part of a mask over all rows."""
    assert report.times is not None
    moments = report.times.moments
    mask = np.ones(len(moments), dtype=bool) if mask is None else mask
    if report.codes is None:
        yield moments, mask
        return
    order = np.argsort(report.codes, kind="stable")
    edges = np.flatnonzero(np.diff(report.codes[order])) + 1
    for rows in np.split(order, edges):
        yield moments[rows], mask[rows]
