"""The ways in which people write times, tried where a column is not ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pandas as pd

_DATES = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m.%d.%Y", "%d %m %Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y",
    "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%b %d, %Y", "%b %d %Y", "%d. %b %Y",
    "%d %B %Y", "%d. %B %Y", "%B %d, %Y", "%B %d %Y",
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y %m %d", "%Y%m%d", "%Y-%b-%d", "%y-%m-%d",
    "%a, %d %b %Y",
)  # fmt: skip
_CLOCKS = (
    "", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p",
    "%I:%M%p", "%H.%M", "%H.%M.%S", "%H%M", "%H%M%S", "%H:%M:%S %z", "%H:%M %z",
)  # fmt: skip
_BETWEEN = (" ", "T", ", ", "_", ":", "")
FORMATS = tuple(
    dict.fromkeys(
        [
            f"{date}{between}{clock}" if clock else date
            for clock in _CLOCKS
            for date in _DATES
            for between in _BETWEEN
            if between or date == "%Y%m%d"
        ]
        + ["%Y%m", "%y%m%d", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%Y-%j"]
    )
)
"""Formats of strptime, the usual before the rare."""

_YEARS = range(1700, 2200)
"""Of times that a format is proposed for: others were read by it and not meant."""

_EPOCHS = ((9, 10, "unix_s"), (13, 13, "unix_ms"), (16, 16, "unix_us"))
_DIGITS = re.compile(r"\d+(\.\d*)?", re.ASCII)


def formats_of(cell: str) -> tuple[str, ...]:
    """Return the formats that fit one cell."""
    return tuple(pattern for pattern in FORMATS if _fits(cell, pattern))


def parse_format(cells: pd.Series, pattern: str) -> pd.Series:
    """Read cells by a pattern of strptime: NaT where it does not fit, UTC where it has offsets.

    Blanks around a cell count for nothing, as where the pattern was found.
    """
    has_offset = "%z" in pattern.replace("%%", "")
    cells = cells.str.strip()
    return pd.to_datetime(cells, format=pattern, errors="coerce", utc=has_offset)


def is_pattern(pattern: str) -> bool:
    """Tell whether strptime takes a pattern, and whether it tells the year.

    Not with names of zones: a reader knows few of them, and takes the others for what they are not.
    """
    if "%Z" in pattern.replace("%%", ""):
        return False
    try:
        written = datetime(2013, 11, 12, 10, 14, 15, tzinfo=UTC).strftime(pattern)
        parsed = pd.to_datetime(written, format=pattern)
    except (ValueError, TypeError, re.error):
        return False
    return "%" in pattern and parsed.year == 2013


def epoch_of(number: str) -> str | None:
    """Return the time_format of a number that counts since 1970, by its length."""
    if _DIGITS.fullmatch(number) is None:
        return None
    length = len(number.split(".")[0])
    return next((unit for least, most, unit in _EPOCHS if least <= length <= most), None)


def _fits(cell: str, pattern: str) -> bool:
    try:
        return datetime.strptime(cell, pattern).year in _YEARS
    except ValueError:
        return False
