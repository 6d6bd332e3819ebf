"""Finding the clock of a table: a fixed step, months, local days, or none at all."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.config_base import Months, microseconds
from mmts.data.availability import starts_of
from mmts.data.cache.array_files import as_tensor
from mmts.data.clock import DAY, Clock
from mmts.data.config import StreamConfig
from mmts.data.table import ItemRun, Table
from mmts.data.times import format_times

MAX_GRID_GROWTH = 10
"""Grid rows per row of a file above which a stream counts as irregular, not as one with gaps."""

MIN_GRID = 5_000_000
"""Places that the grid of an item may have however few rows there are."""

_ALL_ITEMS = 10
"""How much more of both the items of a table may have together: of many, each may have gaps."""

_SHORTEST_MONTH = 28 * DAY
_SHORTEST_DAY = 23 * DAY // 24

Places = npt.NDArray[np.int64]


class FoundClock(NamedTuple):
    """A clock, and what the stamps of its rows mark; see `StreamSchema`."""

    clock: Clock | None
    stamp: Literal["start", "end", "event"]
    shift: int = 0


def find_clock(table: Table, stream: StreamConfig) -> FoundClock:
    """Return the clock that the config states, else the one that the rows stand on."""
    assert table.times is not None
    stamp = stream.stamp or "start"
    zone = stream.time_zone if table.has_time_zone else None
    if stamp == "event":
        return FoundClock(None, "event")
    if isinstance(stream.frequency, Months):
        return _with_stamps(
            table, Clock(every=stream.frequency.count, unit="month", time_zone=zone), stamp
        )
    if stream.frequency is not None:
        clock = Clock(every=microseconds(stream.frequency))
        begin = _begin_of_days(table, zone) if clock.every % DAY == 0 else None
        if begin is not None:
            clock = Clock(every=clock.every // DAY, unit="day", time_zone=zone, offset=begin)
        return FoundClock(clock, stamp)
    calendar = _detect_calendar(table, zone)
    if calendar is not None:
        return _with_stamps(table, calendar, stamp)
    period = _detect_period(table)
    if period:
        return FoundClock(Clock(every=period), stamp)
    if stream.stamp is None and (table.available is not None or _is_prose(stream)):
        return FoundClock(None, "event")
    return FoundClock(None, stamp)


def has_dates_alone(table: Table, stream: StreamConfig) -> bool:
    """Whether no stamp tells a time of day: a row is then known when its day is over."""
    zone = stream.time_zone if table.has_time_zone else None
    return _all_midnight(_local(table, zone))


def first_off_grid(table: Table, found: FoundClock) -> int | None:
    """Return the first row that does not stand on its item's grid, or shares a place of it."""
    assert table.times is not None and found.clock is not None
    for run in table.iterate_runs():
        times = table.times[run.rows]
        starts = starts_of(times, *found)
        origins, places = _places(run, starts, found.clock)
        off = found.clock.advance(as_tensor(origins), as_tensor(places)).numpy() != starts
        shared = np.diff(places) == 0
        shared[run.last[:-1]] = False
        off[1:] |= shared
        if found.clock.offset:
            # A date lies in its day, and a month in its own; any other time may lie in two days.
            off |= ~_begins_day(times, found.clock)
        if off.any():
            return int(run.rows.start) + int(off.argmax())
    return None


def faults_of_proportion(table: Table, found: FoundClock, time_zone: str | None) -> list[str]:
    """Name the row behind the longest gap, where the grids would be out of all proportion.

    One stamp of another century makes a grid of millions of places, and is a mistake.
    """
    assert table.times is not None and found.clock is not None
    most = MAX_GRID_GROWTH * len(table) + MIN_GRID
    total, longest, widest = 0, 0, 0
    for run in table.iterate_runs():
        times = table.times[run.rows]
        first, last = (as_tensor(starts_of(times[at], *found)) for at in (run.first, run.last))
        reached = found.clock.elapsed(first, last).numpy()
        item = int(reached.argmax())
        total += int(reached.sum())
        if reached[item] > longest:
            begin = int(run.first[item])
            gaps = np.diff(times[begin : run.last[item] + 1])
            longest, widest = int(reached[item]), run.rows.start + begin + int(gaps.argmax()) + 1
    if longest > most:
        return [
            f"{describe_row(table, widest, time_zone)} lies far from all rows before it. Correct "
            "its year, or take the row out."
        ]
    if total > _ALL_ITEMS * most:
        return [
            f"a grid of {found.clock} from the first to the last row of each item has {total:,} "
            f"places for {len(table):,} rows. The longest gap is before "
            f"{describe_row(table, widest, time_zone)}. Correct years that are wrong, take out "
            "what lies far apart, or state a longer frequency."
        ]
    return []


def item_with_other_period(table: Table, found: FoundClock) -> tuple[str | None, str] | None:
    """Return the first item whose most frequent step is another one, and that step in words."""
    assert table.times is not None and found.clock is not None
    units = found.clock.model_copy(update={"every": 1})
    for run in table.iterate_runs():
        starts = starts_of(table.times[run.rows], units, found.stamp, found.shift)
        # A clock of microseconds need not count them.
        places = _places(run, starts, units)[1] if units.is_calendar else starts
        steps = run.steps(places)
        # Where more than half of an item's steps are those of the clock, no other is as frequent.
        ends = np.cumsum(run.lengths - 1)
        usual = np.concatenate([[0], np.cumsum(steps == found.clock.every)])
        num_usual = usual[ends] - usual[ends - run.lengths + 1]
        for place in np.flatnonzero(2 * num_usual <= run.lengths - 1):
            own = steps[ends[place] - run.lengths[place] + 1 : ends[place]]
            distinct, counts = np.unique(own, return_counts=True)
            if not len(own) or counts.max() == 1:
                continue
            every = int(distinct[counts.argmax()])
            if every != found.clock.every:
                item = None if table.items is None else table.items[run.items[place]]
                return item, str(found.clock.model_copy(update={"every": every}))
    return None


def describe_row(table: Table, row: int, time_zone: str | None) -> str:
    """Write the stamp of a row."""
    assert table.times is not None
    return str(format_times(table.times[row : row + 1], table.has_time_zone, time_zone)[0])


def _is_prose(stream: StreamConfig) -> bool:
    columns = {column for column, _ in stream.roles()} | {*stream.category, *stream.flag}
    return bool(stream.text) and columns <= set(stream.text)


def _detect_period(table: Table) -> int:
    """Return the fixed time from row to row, in microseconds, or 0 when there is none.

    The period is the most frequent step; gaps are allowed, rows between two grid places are not.
    """
    assert table.times is not None
    distinct, counts, total = _count_steps(table)
    if not len(distinct):
        return 0
    period = int(distinct[counts.argmax()])
    if first_off_grid(table, FoundClock(Clock(every=period), "start")) is not None:
        return 0
    return period if total // period + 1 <= MAX_GRID_GROWTH * len(table) else 0


def _count_steps(table: Table) -> tuple[Places, Places, int]:
    """Return the distinct steps from row to row, how often each is there, and their sum."""
    assert table.times is not None
    found: dict[int, int] = {}
    total = 0
    for run in table.iterate_runs():
        steps, counts = np.unique(run.steps(table.times[run.rows]), return_counts=True)
        total += int((steps * counts).sum())
        for step, count in zip(steps.tolist(), counts.tolist(), strict=True):
            found[step] = found.get(step, 0) + count
    distinct = np.array(sorted(found), dtype=np.int64)
    return distinct, np.array([found[step] for step in distinct.tolist()], dtype=np.int64), total


def _detect_calendar(table: Table, zone: str | None) -> Clock | None:
    """Return a clock of months, or of local days, where every stamp is the edge of one."""
    assert table.times is not None
    distinct, _, _ = _count_steps(table)
    if not len(distinct) or distinct[0] < _SHORTEST_DAY:
        return None
    local, begin = _local(table, zone), _begin_of_days(table, zone)
    is_far = distinct[0] >= _SHORTEST_MONTH and _all_midnight(local)
    if is_far and (local.is_month_start.all() or local.is_month_end.all()):
        units = Clock(every=1, unit="month", time_zone=zone)
    elif begin is not None:
        units = Clock(every=1, unit="day", time_zone=zone, offset=begin)
    else:
        return None
    steps = [
        run.steps(_places(run, starts_of(table.times[run.rows], units, "start", 0), units)[1])
        for run in table.iterate_runs()
    ]
    counted, counts = np.unique(np.concatenate(steps), return_counts=True)
    every = int(counted[counts.argmax()])
    if every == 0 or (counted % every).any():
        return None
    if int((counted * counts).sum()) // every + 1 > MAX_GRID_GROWTH * len(table):
        return None
    return units.model_copy(update={"every": every})


def _with_stamps(table: Table, clock: Clock, stamp: Literal["start", "end"]) -> FoundClock:
    """Tell a month that is stamped with the date of its last day from one stamped at its start."""
    local = _local(table, clock.time_zone)
    if clock.unit == "month" and local.is_month_end.all() and _all_midnight(local):
        return FoundClock(clock, "end", -DAY)
    return FoundClock(clock, stamp)


def _places(run: ItemRun, starts: Places, clock: Clock) -> tuple[Places, Places]:
    """Return when each row's item begins, and how many periods after that the row does, (row,)."""
    origins = run.per_row(starts[run.first])
    return origins, clock.elapsed(as_tensor(origins), as_tensor(starts)).numpy()


def _local(table: Table, zone: str | None) -> pd.DatetimeIndex:
    """Return the stamps of all rows that count, as the clock on the wall shows them."""
    assert table.times is not None
    return _on_the_wall(table.times[table.counted()], zone)


def _on_the_wall(times: Places, zone: str | None) -> pd.DatetimeIndex:
    stamps = pd.DatetimeIndex(times.astype("datetime64[us]"))
    return stamps if zone is None else stamps.tz_localize("UTC").tz_convert(zone).tz_localize(None)


def _begins_day(times: Places, clock: Clock) -> npt.NDArray[np.bool_]:
    """Tell of each moment whether a day begins with it, by the day or by the clock on the wall."""
    local = _on_the_wall(times, clock.time_zone)
    by_wall = np.asarray(local - local.normalize() == pd.Timedelta(clock.offset, "us"), dtype=bool)
    by_day: npt.NDArray[np.bool_] = clock.floor(as_tensor(times)).numpy() == times
    return by_wall | by_day


def _all_midnight(local: pd.DatetimeIndex) -> bool:
    return not len(local) or _time_of_day(local) == 0


def _begin_of_days(table: Table, zone: str | None) -> int | None:
    """Return the time of day of all stamps, where days of a zone begin with it; else None.

    Midnights are such. Another time of day may be that of days of UTC, or of any 24 hours, until
    clocks were changed between two rows.
    """
    if zone is None:
        return None
    begin = _time_of_day(_local(table, zone))
    has_changed = begin and _time_of_day(_local(table, None)) is None
    return begin if begin == 0 or has_changed else None


def _time_of_day(local: pd.DatetimeIndex) -> int | None:
    """Return the microseconds since midnight where they are the same of all stamps, else None."""
    since = (local - local.normalize()).to_numpy(dtype="timedelta64[us]").astype(np.int64)
    return int(since[0]) if len(since) and (since == since[0]).all() else None
