"""Cells that hold numbers or flags, read chunk by chunk: float64, NaN where missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import ReadingConfig
from mmts.data.reading.faults import Faults, Rows
from mmts.data.reading.sinks import ColumnSink

Floats = npt.NDArray[np.float64]

_TRUE = ("true", "yes", "on", "t", "y", "1", "1.0")
_FALSE = ("false", "no", "off", "f", "n", "0", "0.0")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.I | re.A)
_WITH_UNIT = re.compile(r"[+-]?[\d.,]*\d\s*(%|[^\W\d_][\w/°²³%]*|°.*|[$€£])|[$€£]\s*[\d.,]+")
_BLANKS = " \t\u00a0\u202f"
_EARLIEST, _LATEST = pd.Timestamp("0001-01-02"), pd.Timestamp("9999-12-30")
"""Between them a time in any zone is one of Python's calendar."""


class NumberReader:
    """Numbers of one column; true and false count as 1 and 0, as pandas takes them."""

    def __init__(self, column: str, reading: ReadingConfig, sink: ColumnSink) -> None:
        self.num_outside = 0
        self._column = column
        self._reading = reading
        self._sink = sink
        self._sentinels = _number_sentinels(reading)
        self._words = _word_sentinels(reading)
        ranges = {name.strip(): limits for name, limits in reading.valid_range.items()}
        self._low, self._high = ranges.get(column, (None, None))
        self._parse = _parser_of(reading)

    def add(self, cells: pd.Series, rows: Rows, faults: Faults) -> None:
        """Read the cells of a chunk."""
        values = self.read(cells, rows, faults)
        outside = np.zeros(len(values), dtype=bool)
        if self._low is not None:
            outside |= values < self._low
        if self._high is not None:
            outside |= values > self._high
        if outside.any():
            self.num_outside += int(outside.sum())
            values = np.where(outside, np.nan, values)
        self._sink.append(values)

    def read(self, cells: pd.Series, rows: Rows, faults: Faults) -> Floats:
        """Return the cells of a chunk as numbers, (row,), NaN where missing."""
        plain = plain_values(cells)
        if is_time_like(plain.dtype):
            said, remedy = "holds times, not numbers", "Take it out of the columns that are read."
            faults.add(rows, 0, 1, self._column, said, remedy, "type")
            return np.full(len(plain), np.nan)
        if pd.api.types.is_numeric_dtype(plain.dtype) and not _is_complex(plain.dtype):
            values = plain.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = self._read_written(plain, rows, faults)
        if self._sentinels.size:
            values = np.where(np.isin(values, self._sentinels), np.nan, values)
        # One look at a sum tells of infinity more quickly than one at each value.
        with np.errstate(invalid="ignore", over="ignore"):
            suspicious = not np.isfinite(np.add.reduce(values))
        if suspicious:
            faults.add_mask(
                rows, np.isinf(values), self._column, "the value is infinite",
                "Write it as an empty cell.", "infinite",
            )  # fmt: skip
        return values

    def _read_written(self, cells: pd.Series, rows: Rows, faults: Faults) -> Floats:
        values = np.full(len(cells), np.nan)
        faulty: list[int] = []
        missing = cells.isna().to_numpy()
        for row, cell in enumerate(cells.to_numpy(dtype=object)):
            if missing[row]:
                continue
            number = self._number_of(cell)
            if number is None and str(cell).strip(_BLANKS) == self._column:
                faults.add_header(rows, row)
            elif number is None:
                faulty.append(row)
            else:
                values[row] = number
        if faulty:
            cell = cells.iloc[faulty[0]]
            said = f"{cell!r} is not a number"
            remedy = self._remedy(str(cell).strip(_BLANKS))
            faults.add(rows, faulty[0], len(faulty), self._column, said, remedy, "number")
        return values

    def _number_of(self, cell: Any) -> float | None:
        if not isinstance(cell, str):
            try:
                return float(cell)
            except (TypeError, ValueError, OverflowError):
                return None
        text = cell.strip(_BLANKS)
        if not text or text in self._words:
            return np.nan
        number = self._parse(text)
        if number is None and text.lower() in ("true", "false"):
            return float(text.lower() == "true")
        return number

    def _remedy(self, cell: str) -> str:
        hint = _hint(cell, self._reading)
        if hint is not None:
            return hint
        return (
            f"Write it as an empty cell, add {cell!r} to missing_values of the stream, "
            "or list the column under 'category'."
        )


class FlagReader:
    """Yes and no of one column: 1 and 0."""

    def __init__(self, column: str, reading: ReadingConfig, sink: ColumnSink) -> None:
        self._column = column
        self._sink = sink
        self._sentinels = _number_sentinels(reading)
        self._words = _word_sentinels(reading)

    def add(self, cells: pd.Series, rows: Rows, faults: Faults) -> None:
        """Read the cells of a chunk."""
        codes, words = factorize(cells)
        known = [self._flag_of(word) for word in words]
        values = np.array([np.nan if v is None else v for v in known] + [np.nan])[codes]
        faulty = np.array([v is None for v in known] + [False])[codes]
        if faulty.any():
            cell = words[codes[int(faulty.argmax())]]
            faults.add_mask(
                rows, faulty, self._column, f"{_shown(cell)} is neither yes nor no",
                "Write true/false, yes/no, on/off, t/f, y/n or 1/0, or add it to missing_values "
                "of the stream.", "flag",
            )  # fmt: skip
        self._sink.append(values)

    def _flag_of(self, cell: Any) -> float | None:
        text = str(cell).strip(_BLANKS)
        if not text or text in self._words:
            return np.nan
        if text.lower() in _TRUE:
            return 1.0
        if text.lower() in _FALSE:
            return 0.0
        try:
            return np.nan if float(text) in self._sentinels else None
        except ValueError:
            return None


class CellReader(Protocol):
    """What reads one column chunk by chunk into its sink."""

    def add(self, cells: pd.Series, rows: Rows, faults: Faults) -> None: ...


def factorize(cells: pd.Series) -> tuple[npt.NDArray[np.intp], Any]:
    """Return the place of each cell among the different ones, -1 where missing, and those."""
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        in_utc = cells.dt.tz_convert("UTC").dt.tz_localize(None)
        if in_utc.min() < _EARLIEST or in_utc.max() > _LATEST:
            codes, stamps = pd.factorize(in_utc)
            return codes, [_write_far(stamp, cells.dtype.tz) for stamp in stamps]
    try:
        return pd.factorize(cells)
    except TypeError:  # a list, or something else that is no name
        return pd.factorize(cells.map(str, na_action="ignore"))


def _write_far(stamp: pd.Timestamp, zone: tzinfo) -> str:
    """Write a time of UTC in its zone; so far out that Python knows of none, without."""
    is_far = not _EARLIEST <= stamp <= _LATEST
    return str(stamp if is_far else stamp.tz_localize("UTC").tz_convert(zone))


def plain_values(cells: pd.Series) -> pd.Series:
    """Return cells without the detour of a category."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return cells.astype(cells.cat.categories.dtype)
    return cells


def is_time_like(dtype: Any) -> bool:
    """Tell whether a column of a data frame holds times or stretches of time."""
    return pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype)


def _is_complex(dtype: Any) -> bool:
    return bool(pd.api.types.is_complex_dtype(dtype))


def _shown(cell: Any) -> str:
    return repr(cell) if isinstance(cell, str) else str(cell)


def _number_sentinels(reading: ReadingConfig) -> Floats:
    found = []
    for value in reading.missing_values:
        try:
            found.append(float(value))
        except ValueError:
            continue
    return np.array(found, dtype=np.float64)


def _word_sentinels(reading: ReadingConfig) -> frozenset[str]:
    return frozenset(str(value) for value in reading.missing_values)


def _parser_of(reading: ReadingConfig) -> Callable[[str], float | None]:
    """Return what makes a number of a cell without blanks at its ends, or None."""
    decimal, mark = reading.decimal, reading.thousands
    blanks = "[ \u00a0\u202f]" if mark == " " else re.escape(mark or "")
    groups = re.compile(rf"([+-]?\d{{1,3}}(?:{blanks}\d{{3}})+)(?![\d])(.*)", re.S)

    def parse(text: str) -> float | None:
        if mark is not None and (match := groups.fullmatch(text)) is not None:
            text = re.sub(blanks, "", match[1]) + match[2]
        if decimal == ",":
            if "." in text:
                return None
            text = text.replace(",", ".")
        return float(text) if _NUMBER.fullmatch(text) else None

    return parse


def _hint(cell: str, reading: ReadingConfig) -> str | None:
    """Return the remedy for a number that is written in another way than the stream says."""
    dot, comma = r"[+-]?\d{1,3}(?:\.\d{3})+", r"[+-]?\d{1,3}(?:,\d{3})+"
    decimals, groups = r"[+-]?\d+,\d+", r"[+-]?\d{1,3}(?:([ '_\u00a0\u202f])\d{3})+(?:[.,]\d+)?"
    if _WITH_UNIT.fullmatch(cell):
        return "Write the number without its unit."
    if reading.decimal == "," and "." in cell and re.fullmatch(r"[\d.,+-]+", cell):
        if re.fullmatch(rf"{dot}(?:,\d*)?", cell) and reading.thousands is None:
            return "Set thousands: '.' for the stream if that is what the points are."
        return "Set decimal: '.' for the stream, or write all numbers with a comma."
    if re.fullmatch(rf"{dot},\d*", cell) or re.fullmatch(rf"{dot}(?:\.\d{{3}})", cell):
        return "Set decimal: ',' and thousands: '.' for the stream."
    if re.fullmatch(rf"{comma}\.\d*", cell) or re.fullmatch(rf"{comma},\d{{3}}", cell):
        return "Set thousands: ',' for the stream."
    if re.fullmatch(comma, cell):
        return (
            "Set decimal: ',' for the stream if that is the decimal mark, or thousands: ',' if "
            "it stands between thousands."
        )
    if re.fullmatch(decimals, cell) and reading.decimal == ".":
        return "Set decimal: ',' for the stream."
    match = re.fullmatch(groups, cell)
    if match is not None:
        mark = match[1] if match[1] in "'_" else " "
        ending = " and decimal: ','" if "," in cell else ""
        return f'Set thousands: "{mark}"{ending} for the stream.'
    return None
