"""Columns of times: in which format they are written, and what cannot be told from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

_YEAR_FIRST = (
    r"(\d{4})([-/. ])(\d{1,2})\2(\d{1,2})"
    r"(?:(?:\s*T\s*|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?"
_DAY_OR_MONTH_FIRST = (
    r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})"
    r"(?:,?(\s+)(\d{1,2}):(\d{2})(:\d{2})?(\.\d+)?(\s*[AaPp][Mm])?)?"
)
_NAMED_MONTHS = (
    "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%b-%Y",
    "%b-%y", "%Y-%b", "%d-%b-%y",
)  # fmt: skip
_MONTHS = {
    r"\d{4}-\d{1,2}": "%Y-%m", r"\d{4}/\d{1,2}": "%Y/%m", r"\d{4}M\d{1,2}": "%YM%m",
    r"\d{1,2}/\d{4}": "%m/%Y", r"\d{1,2}-\d{4}": "%m-%Y",
}  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_COMPACT = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCHS = {"unix_s": ("s", 1e9), "unix_ms": ("ms", 1e12), "unix_us": ("us", 1e15)}

_TIME_NAME = re.compile(
    r"(?:^|[^a-z])(?:date|time|timestamp|datetime|datum|zeit|ds|day|month|year|period|utc|unix|"
    r"epoch)(?:$|[^a-z])|date|time|stamp",
    re.IGNORECASE,
)

_LEAST_SHARE = 0.9
"""Share of cells that are times above which a column is one with faulty cells."""

_LEAST_TOLD = 0.5
"""The same for a format that the user named."""

_END_OF_DAY = "24:00"
"""A time that no reader knows; where days are ended so, every fourth row may be."""


@dataclass(frozen=True)
class Times:
    """A column read as times.

    moments: int64 microseconds; where a cell is empty or no time, `valid` is False.
    format: as `time_format` has it; None where none is needed. note: why it is this one.
    is_date: whether no time of day is written. has_time_zone: whether a UTC offset is.
    """

    moments: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    format: str | None = None
    note: str = ""
    is_date: bool = False
    has_time_zone: bool = False


@dataclass(frozen=True)
class AmbiguousTimes:
    """A column of which nobody can say whether the day or the month comes first."""

    example: str
    formats: tuple[str, str]


def is_time_name(name: str) -> bool:
    """Whether a column is named as one of times."""
    return _TIME_NAME.search(name) is not None


def read_times(
    cells: pd.Series, name: str, formats: tuple[str, ...] = ()
) -> Times | AmbiguousTimes | None:
    """Return a column as times, or None when it is none.

    name: of the column; plain numbers are times only where it says so or where they are epochs.
    formats: given by the user, tried first.
    """
    filled = cells.dropna()
    if filled.empty:
        return None
    for wanted in formats:
        found = _read_as(cells, wanted, _LEAST_TOLD)
        if found is not None:
            return found
    sample = filled.iloc[:: max(1, len(filled) // 200)]
    if _share(sample, r"\d+(\.0)?") >= _LEAST_SHARE:
        return _read_digits(cells, name)
    if _share(sample, rf"{_YEAR_FIRST}|{_ISO}") >= _LEAST_SHARE:
        return _read_year_first(cells)
    if _share(sample, _DAY_OR_MONTH_FIRST) >= _LEAST_SHARE:
        return _read_day_or_month_first(cells)
    for pattern, wanted in _MONTHS.items():
        if _share(sample, pattern) >= _LEAST_SHARE:
            return _read_as(cells, wanted)
    if _share(sample, r".*[A-Za-z]{3}.*\d{2}.*|\d{4}.*[A-Za-z]{3}.*") >= _LEAST_SHARE:
        for date in _NAMED_MONTHS:
            for clock in _CLOCKS:
                found = _read_as(cells, date + clock)
                if found is not None:
                    return found
    return None


def _share(cells: pd.Series, pattern: str) -> float:
    return float(cells.str.fullmatch(pattern).mean())


def _times(parsed: pd.Series, **what: str | bool | None) -> Times | None:
    valid = parsed.notna().to_numpy()
    if not valid.any():
        return None
    moments = np.zeros(len(parsed), dtype=np.int64)
    moments[valid] = parsed[valid].to_numpy(dtype="datetime64[us]").astype(np.int64)
    # Each caller names fields of Times, whose types differ from one another.
    return Times(moments, valid, **what)  # type: ignore[arg-type]


def _read_as(cells: pd.Series, wanted: str, least: float = _LEAST_SHARE) -> Times | None:
    """Read a column in one format, which has to fit at least a share of the cells.

    Those that it does not fit are told later, by their rows.
    """
    if wanted in _EPOCHS:
        return _read_epochs(cells, wanted)
    parsed = pd.to_datetime(cells.astype(object), format=wanted, errors="coerce", utc=True)
    parsed = parsed.dt.tz_localize(None)
    if not _are_enough(parsed.notna(), cells, least):
        return None
    is_date = not re.search("%[HI]", wanted)
    return _times(parsed, format=wanted, is_date=is_date, has_time_zone="%z" in wanted)


def _are_enough(valid: pd.Series, cells: pd.Series, least: float = _LEAST_SHARE) -> bool:
    """Tell whether enough of the cells are times, those that end a day by 24:00 among them."""
    likely = valid | cells.str.contains(_END_OF_DAY, regex=False, na=False)
    return bool(valid.any()) and int(likely.sum()) >= least * int(cells.notna().sum())


def _read_year_first(cells: pd.Series) -> Times | None:
    # Each time once: items share theirs, and taking a cell to pieces is slow.
    codes, distinct = pd.factorize(cells)
    found = _read_iso(distinct) or _read_parts(distinct)
    if found is None:
        return None
    known = codes >= 0
    valid = known & found.valid[codes]
    if not _are_enough(pd.Series(valid, index=cells.index), cells):
        return None
    return replace(found, moments=np.where(valid, found.moments[codes], 0), valid=valid)


def _read_iso(distinct: pd.Index) -> Times | None:
    """Read cells that are ISO 8601 throughout and state no offset, which is fast."""
    cells = pd.Series(distinct, dtype="string")
    if not cells.str.fullmatch(_ISO).all():
        return None
    parsed = pd.to_datetime(cells.astype(object), format="ISO8601", errors="coerce")
    is_date = bool((cells.str.len() == len("2013-10-01")).all())
    return _times(parsed, is_date=is_date)


def _read_parts(distinct: pd.Index) -> Times | None:
    cells = pd.Series(distinct, dtype="string")
    parts = cells.str.extract(rf"^{_YEAR_FIRST}$")
    numbers = [pd.to_numeric(parts[place]).astype("Float64") for place in (0, 2, 3, 4, 5, 6)]
    year, month, day, *clock = numbers
    dates = pd.to_datetime(
        pd.DataFrame({"year": year, "month": month, "day": day}), errors="coerce"
    )
    hour, minute, second = (unit.fillna(0).to_numpy(dtype=np.float64) for unit in clock)
    fraction = pd.to_numeric("0." + parts[7].fillna("0")).to_numpy(dtype=np.float64)
    seconds = hour * 3600 + minute * 60 + second
    clock_is_right = (hour < 24) & (minute < 60) & (second < 60)
    offset = parts[8].replace(["Z", "UTC", "GMT"], "+0000").str.replace(":", "")
    offset = offset.str.ljust(5, "0").fillna("+0000")
    shift = (offset.str[:1] + "1").astype(int) * (
        offset.str[1:3].astype(int) * 3600 + offset.str[3:5].astype(int) * 60
    )
    seconds = seconds - shift.to_numpy(dtype=np.float64)
    parsed = dates + pd.to_timedelta(seconds, unit="s") + pd.to_timedelta(fraction, unit="s")
    parsed = parsed.where(clock_is_right)
    has_offset = parts[8].notna()
    if has_offset.any() and not has_offset[parsed.notna()].all():
        return None
    return _times(parsed, is_date=bool(parts[4].isna().all()), has_time_zone=bool(has_offset.any()))


def _read_day_or_month_first(cells: pd.Series) -> Times | AmbiguousTimes | None:
    parts = cells.str.extract(rf"^{_DAY_OR_MONTH_FIRST}$")
    filled = parts[parts[0].notna()]
    mark = str(filled[1].iloc[0])
    one, two = (pd.to_numeric(filled[place]) for place in (0, 2))
    num_one, num_two = int((one > 12).sum()), int((two > 12).sum())
    if min(num_one, num_two) > (1 - _LEAST_SHARE) * len(filled):
        return None
    year = "%Y" if filled[3].str.len().mode().iloc[0] == 4 else "%y"
    clock = ""
    if filled[5].notna().mean() >= _LEAST_SHARE:
        seconds = ":%S" if filled[7].notna().any() else ""
        fraction = ".%f" if filled[8].notna().any() else ""
        half = filled[9].dropna()
        letters = "" if half.empty else (" %p" if half.iloc[0][0].isspace() else "%p")
        clock = f" {'%I' if letters else '%H'}:%M{seconds}{fraction}{letters}"
        if cells[parts[0].notna()].str.contains(",", regex=False).any():
            clock = "," + clock
    day_first = mark.join(("%d", "%m", year)) + clock
    month_first = mark.join(("%m", "%d", year)) + clock
    if num_one != num_two:
        is_day_first = num_one > num_two
        over = one if is_day_first else two
        example = cells[over.index[over > 12][0]]
        chosen = day_first if is_day_first else month_first
        return _with_note(cells, chosen, f"{example} can be read no other way")
    if mark == ".":
        return _with_note(cells, day_first, "with dots the day comes first")
    return AmbiguousTimes(str(cells.dropna().iloc[-1]), (day_first, month_first))


def _with_note(cells: pd.Series, wanted: str, note: str) -> Times | None:
    found = _read_as(cells, wanted)
    return None if found is None else _noted(found, note)


def _noted(times: Times, note: str) -> Times:
    return replace(times, note=note)


def _read_digits(cells: pd.Series, name: str) -> Times | None:
    whole = cells.str.removesuffix(".0")
    lengths = whole.dropna().str.len()
    usual = int(lengths.mode().iloc[0])
    if (lengths == usual).mean() >= _LEAST_SHARE and is_time_name(name):
        wanted = _COMPACT.get(usual)
        if wanted is not None and _are_dates(whole, wanted):
            found = _read_as(cells, wanted)
            if found is not None:
                return _noted(found, "digits alone")
    for wanted in _EPOCHS:
        found = _read_epochs(cells, wanted)
        if found is not None and (is_time_name(name) or _is_steady(found)):
            return _noted(found, "since 1970")
    return None


def _are_dates(cells: pd.Series, wanted: str) -> bool:
    years = pd.to_numeric(cells.dropna().str[:4], errors="coerce")
    if years.between(1800, 2200).mean() < _LEAST_SHARE:
        return False
    # Ten digits may be an hour or seconds since 1970; what gives no date is none.
    parsed = pd.to_datetime(cells.dropna().astype(object), format=wanted, errors="coerce")
    return bool(parsed.notna().mean() >= _LEAST_SHARE)


def _read_epochs(cells: pd.Series, wanted: str) -> Times | None:
    unit, size = _EPOCHS[wanted]
    numbers = pd.to_numeric(cells, errors="coerce").astype("Float64")
    # From 1990 to 2100 for seconds, and likewise.
    numbers = numbers.where(numbers.between(0.63 * size, 4.1 * size).fillna(False).astype(bool))
    if not _are_enough(numbers.notna(), cells):
        return None
    # They count from a moment in UTC, as if each stated that offset.
    return _times(_since_1970(numbers, unit), format=wanted, has_time_zone=True)


def _since_1970(numbers: pd.Series, unit: str) -> pd.Series:
    size = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
    moments = np.zeros(len(numbers), dtype=np.int64)
    known = numbers.notna().to_numpy()
    moments[known] = np.round(numbers[known].to_numpy(dtype=np.float64) * size).astype(np.int64)
    stamps = pd.Series(moments.astype("datetime64[us]"), index=numbers.index)
    return stamps.where(known)


def _is_steady(times: Times) -> bool:
    """Whether times grow from row to row, mostly by the same step."""
    steps = np.diff(times.moments[times.valid])
    if not len(steps) or (steps < 0).any():
        return False
    return bool(np.unique(steps, return_counts=True)[1].max() >= 0.5 * len(steps))


def faulty_rows(cells: pd.Series, times: Times) -> Iterator[tuple[int, str | None]]:
    """Yield place and content of every cell that is no time."""
    for row in np.flatnonzero(~times.valid):
        cell = cells.iloc[row]
        yield int(row), None if pd.isna(cell) else str(cell)
