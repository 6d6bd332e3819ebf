"""Times in ISO 8601, or nearly so: the year first, with other marks between."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

YEAR_FIRST = re.compile(
    r"(\d{4})([-/. ])(\d{1,2})\2(\d{1,2})(?:[T ]\s*(\d{1,2}):(\d{2})(?::(\d{2})([.,]\d+)?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?)?",
    re.ASCII,
)
_HAS_OFFSET = re.compile(r"\d:?\d{2}(?:\.\d+)?\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$")
_NO_TIME = np.iinfo(np.int64).min
_COARSE = {"s": 1_000_000, "ms": 1_000}
"""Microseconds of a step of the units that count further."""
_FURTHEST = 2**62
"""Microseconds, 146,000 years."""


def parse_quickly(cells: pd.Series) -> Times | None:
    """Read cells that are all of the plainest form, 2013-10-01 14:00:00; None where some are not.

    pyarrow knows nothing but this form, and takes a tenth of the time.
    """
    if not isinstance(cells.dtype, pd.StringDtype) or cells.dtype.storage != "pyarrow":
        return None
    import pyarrow as pa

    stamps = pa.array(cells.array, from_pandas=True)
    if stamps.null_count:
        return None
    try:
        parsed = stamps.cast(pa.timestamp("us")).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    times: Times = parsed.to_numpy()
    return times


def parse_iso(text: pd.Series) -> tuple[pd.Series, Flags]:
    """Read ISO 8601, in UTC; NaT where it is not. Tell which cells have an offset."""
    last = text.max()  # of all words, only now and today mean something to pandas
    if isinstance(last, str) and last[:1] > "9":
        text = text.where(text.str[:1] <= "9")
    try:
        parsed = pd.to_datetime(text, format="ISO8601", errors="coerce")
    except ValueError:
        # Offsets that differ, as in summer and in winter, or that only some rows have.
        parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        found = [_HAS_OFFSET.search(str(c)) is not None for c in text.to_numpy(dtype=object)]
        return parsed, np.array(found, dtype=bool)
    has_zone = isinstance(parsed.dtype, pd.DatetimeTZDtype)
    return parsed, np.full(len(text), has_zone)


def to_iso(cell: str) -> str:
    """Write a cell whose marks are not quite those of ISO 8601 as that has them, else as it is."""
    match = YEAR_FIRST.fullmatch(cell.strip())
    if match is None:
        return cell.strip()
    year, _, month, day, hour, minute, second, fraction, offset = match.groups()
    date = f"{year}-{int(month):02d}-{int(day):02d}"
    if hour is None:
        return date
    offset = "Z" if offset in ("UTC", "GMT") else offset
    fraction = (fraction or "").replace(",", ".")
    return f"{date}T{int(hour):02d}:{minute}:{second or '00'}{fraction}{offset or ''}"


def as_utc(times: pd.Series) -> pd.Series:
    """Return times without a zone, in microseconds; those with one in UTC.

    What microseconds cannot count, but seconds can, becomes a time beyond the calendar as well.
    """
    zoned = isinstance(times.dtype, pd.DatetimeTZDtype)
    plain = times.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else times
    per_step = _COARSE.get(plain.dt.unit)
    if per_step is not None:
        steps = plain.to_numpy().astype(np.int64)
        near = np.clip(steps, -_FURTHEST // per_step, _FURTHEST // per_step)
        steps = np.where(steps == _NO_TIME, steps, near)
        plain = pd.Series(steps.view(plain.dtype), index=plain.index)
    return plain.astype("datetime64[us]")


def microseconds(times: pd.Series) -> Times:
    """Return microseconds since 1970, 0 where there is no time."""
    values: Times = as_utc(times).to_numpy(dtype="datetime64[us]").astype(np.int64)
    return np.where(values == _NO_TIME, 0, values)
