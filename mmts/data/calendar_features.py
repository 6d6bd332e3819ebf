"""Features of the calendar, made up on the clock of the target: hour, weekday, holidays.

A row speaks of the moment at which its period begins, as clocks on the wall show it there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.clock import DAY, Clock
from mmts.data.config import CalendarFeature, ColumnType
from mmts.data.schema import ColumnSchema
from mmts.data.table import Table, Words
from mmts.errors import ConfigError, nearest, raise_all

_HOUR = DAY // 24

_LONGEST_DAY = 36 * _HOUR
"""Rows up to here lie on one date, however clocks were changed; longer ones count holidays."""

_FIRST_YEAR, _LAST_YEAR = 1, 9999
"""Years of which holidays are asked; there are none outside."""

_VOCABULARIES: dict[CalendarFeature, tuple[str, ...]] = {
    "hour": tuple(f"{hour:02}" for hour in range(24)),
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "day": tuple(f"{day:02}" for day in range(1, 32)),
    "week": tuple(f"{week:02}" for week in range(1, 54)),
    "month": (
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ),
}  # fmt: skip

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]


def vocabularies(features: Iterable[CalendarFeature]) -> dict[str, tuple[str, ...]]:
    """Return all names that each category can ever hold, whatever the train split does."""
    return {name: _VOCABULARIES[name] for name in features if name in _VOCABULARIES}


def calendar_columns(features: Iterable[CalendarFeature], clock: Clock) -> tuple[ColumnSchema, ...]:
    """Return the columns that hold these features, in their order; all are known ahead.

    clock: of the rows; where they are longer than a day, `holiday` is a number, else a flag.
    """
    columns: list[ColumnSchema] = []
    for feature in features:
        if feature in _VOCABULARIES:
            columns.append(ColumnSchema(name=feature, role="future", type="category"))
        elif feature == "holiday":
            kind: ColumnType = "number" if clock.period > _LONGEST_DAY else "flag"
            columns.append(ColumnSchema(name=feature, role="future", type=kind))
        else:
            names = (f"{feature}_sin", f"{feature}_cos")
            columns += [ColumnSchema(name=name, role="future", type="number") for name in names]
    return tuple(columns)


def build_calendar(
    features: Sequence[CalendarFeature],
    holidays: str | None,
    starts: Integers,
    ends: Integers,
    has_time_zone: bool,
    time_zone: str | None,
) -> Table:
    """Make up the columns of `calendar_columns` for rows that describe [start, end).

    A row is made from its own start and end alone. `time_of_day` and `time_of_year` are points on
    a circle that is gone round once from midnight to midnight, or from New Year to New Year,
    however long that takes. `holiday` is 1 where the date of the start is a holiday; a row longer
    than a day holds the number of holidays whose noon lies in it, so that no other row counts them.

    holidays: country, and perhaps its part, such as US or DE-BY; needed for `holiday` alone.
    starts, ends: (row,) int64 microseconds, UTC or naive, ascending.
    has_time_zone: whether they are UTC; then the calendar is that of `time_zone`, or UTC's.
    Raises ConfigError when the holidays of that country are not known.
    """
    zone = time_zone if has_time_zone else None
    local = _local_times(starts, zone)
    columns: dict[str, npt.NDArray[np.float64] | Words] = {}
    for feature in features:
        if feature in _VOCABULARIES:
            codes = _CODES[feature](local)
            columns[feature] = Words(codes.astype(np.int32), _VOCABULARIES[feature])
        elif feature == "holiday":
            assert holidays is not None
            is_long = ends - starts > _LONGEST_DAY
            columns[feature] = _holidays_in(holidays, local, _local_times(ends, zone), is_long)
        else:
            angle = 2 * np.pi * _PHASES[feature](local)
            columns |= {f"{feature}_sin": np.sin(angle), f"{feature}_cos": np.cos(angle)}
    return Table(
        source="the calendar",
        items=None,
        begin=np.array([0], dtype=np.int64),
        end=np.array([len(starts)], dtype=np.int64),
        times=starts,
        columns=columns,
        has_time_zone=has_time_zone,
    )


def check_holidays(holidays: str, where: str = "holidays") -> None:
    """Raise ConfigError when the holidays of a country, or of its part, are not known.

    where: path of the setting, for the message.
    """
    raise_all(ConfigError, _faults_of_holidays(holidays, where))


def _local_times(times: Integers, zone: str | None) -> Integers:
    """Return what clocks on the wall show, as microseconds."""
    if zone is None:
        return times
    utc = pd.DatetimeIndex(times.astype("datetime64[us]")).tz_localize("UTC")
    local = utc.tz_convert(ZoneInfo(zone)).tz_localize(None)
    return local.to_numpy(dtype="datetime64[us]").astype(np.int64)


def _begin_of(unit: str, local: Integers, later: int = 0) -> Integers:
    """Return the beginning of the month or year that each time lies in, or of a later one."""
    begin = local.astype("datetime64[us]").astype(f"datetime64[{unit}]") + later
    return begin.astype("datetime64[us]").astype(np.int64)


def _hour(local: Integers) -> Integers:
    return local % DAY // _HOUR


def _weekday(local: Integers) -> Integers:
    # 1970 began on a Thursday.
    return (local // DAY + 3) % 7


def _day(local: Integers) -> Integers:
    return (local - _begin_of("M", local)) // DAY


def _week(local: Integers) -> Integers:
    # ISO 8601: a week belongs to the year in which its Thursday lies.
    thursday = local + (3 - _weekday(local)) * DAY
    return (thursday - _begin_of("Y", thursday)) // (7 * DAY)


def _month(local: Integers) -> Integers:
    return local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12


def _time_of_day(local: Integers) -> npt.NDArray[np.float64]:
    return (local % DAY) / DAY


def _time_of_year(local: Integers) -> npt.NDArray[np.float64]:
    begin = _begin_of("Y", local)
    return (local - begin) / (_begin_of("Y", local, later=1) - begin)


_CODES = {"hour": _hour, "weekday": _weekday, "day": _day, "week": _week, "month": _month}
_PHASES = {"time_of_day": _time_of_day, "time_of_year": _time_of_year}


def _holidays_in(
    holidays: str, starts: Integers, ends: Integers, is_long: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Count the holidays of each row, local times: on the date of its start, or between noons."""
    first, beyond = starts // DAY, starts // DAY + 1
    first[is_long] = -((DAY // 2 - starts[is_long]) // DAY)
    beyond[is_long] = -((DAY // 2 - ends[is_long]) // DAY)
    if not len(first):
        return np.zeros(0)
    days = _list_holidays(holidays, int(first.min()), int(beyond.max()))
    count = np.searchsorted(days, beyond) - np.searchsorted(days, first)
    return count.astype(np.float64)


def _list_holidays(holidays: str, first: int, beyond: int) -> Integers:
    """Return the holidays of the years that these days lie in, as days since 1970, sorted."""
    check_holidays(holidays)
    years = np.array([first, beyond], dtype="datetime64[D]").astype("datetime64[Y]")
    begin, end = years.astype(np.int64) + 1970
    of_years = [
        _holidays_of(holidays, year)
        for year in range(max(begin, _FIRST_YEAR), min(end, _LAST_YEAR) + 1)
    ]
    for message in sorted({message for _, messages in of_years for message in messages}):
        logger.warning("holidays of %s: %s", holidays, message)
    return np.concatenate([np.zeros(0, dtype=np.int64), *(days for days, _ in of_years)])


@lru_cache(maxsize=4096)
def _holidays_of(holidays: str, year: int) -> tuple[Integers, tuple[str, ...]]:
    """Return the days of one year, and what the package has to say of them.

    Public holidays, and the days off that are given where one falls on a weekend.
    """
    from holidays import country_holidays

    country, part = _split(holidays)
    # One year at a time: which others are asked must not change it.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        known = country_holidays(country, subdiv=part, years=year, expand=False)
    days = np.array(sorted(known), dtype="datetime64[D]").astype(np.int64)
    return days, tuple(str(warning.message) for warning in caught)


def _faults_of_holidays(holidays: str, where: str) -> Iterable[str]:
    country, part = _split(holidays)
    known = _known_parts()
    if country not in known:
        near = sorted(name for name in known if name[0] == country[0])
        yield (
            f"{where}: no holidays are known of a country {country!r}; with {country[0]} there are "
            f"{', '.join(near) or 'none'}. Write its two letters of ISO 3166, such as US or DE-BY."
        )
    elif part is not None and part not in known[country]:
        parts = known[country]
        listing = f"; there are {', '.join(parts)}." if parts else f"; write {country} alone."
        hint = nearest(part, parts, listing)
        yield f"{where}: no holidays are known of a part {part!r} of {country}{hint}"


def _split(holidays: str) -> tuple[str, str | None]:
    country, _, part = holidays.partition("-")
    return country, part or None


@lru_cache
def _known_parts() -> Mapping[str, Sequence[str]]:
    """Return the parts of every country whose holidays are known, by its two letters."""
    from holidays import list_supported_countries

    supported = list_supported_countries()
    return {name: parts for name, parts in supported.items() if len(name) == 2}
