"""Reading one CSV file, or one data frame, into checked columns.

This is a door: whatever is wrong with a file is said here, with row, column, value and remedy,
and everything behind it trusts what it gets. Rows are counted as an editor does, the header
being row 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import StreamConfig
from mmts.data.frames import Source, name_of, read_frame
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.errors import DataError, nearest, raise_all

_HAS_OFFSET = r"\d:?\d{2}(?:\.\d+)?\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_FLAGS = {"true": "1", "false": "0"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """The rows of one stream, sorted by item and time.

    source: file name, for messages.
    items: (row,) str; None when the stream serves all items.
    times: (row,) int64 microseconds, UTC or naive; None when the stream is static.
    columns: per column (row,): float64 with NaN for a number, object with None for a category.
    """

    source: str
    items: npt.NDArray[np.object_] | None
    times: npt.NDArray[np.int64] | None
    columns: dict[str, npt.NDArray[Any]]
    has_time_zone: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Table:
        """Return the table of some rows only."""
        return Table(
            source=self.source,
            items=None if self.items is None else self.items[rows],
            times=None if self.times is None else self.times[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            has_time_zone=self.has_time_zone,
        )


def choose_columns(source: Source, stream: StreamConfig) -> tuple[ColumnSchema, ...]:
    """Return the columns that a stream holds, with role and type, in a fixed order.

    Without any role in the config these are all columns of the file, as past.
    """
    roles = dict(stream.roles())
    if not roles:
        header = list(read_frame(source, num_rows=0).columns)
        if any(str(name).startswith("Unnamed: ") for name in header):
            # As pandas calls a column without a name, such as the index that its to_csv writes.
            raise DataError(
                f"{name_of(source)}: a column has no name. Name it, take it out, or list the "
                "columns to read under 'past'."
            )
        roles = {c: "past" for c in header if c not in (stream.time, stream.item)}
    roles |= {column: "past" for column in stream.category if column not in roles}
    if not roles:
        raise DataError(f"{name_of(source)}: no column besides time and item. Add one with values.")
    return tuple(
        ColumnSchema(name=name, role=role, type="category" if name in stream.category else "number")
        for name, role in roles.items()
    )


def read_table(source: Source, stream: StreamConfig, columns: tuple[ColumnSchema, ...]) -> Table:
    """Read the named columns of one stream.

    Raises DataError, with every fault found in this file, for: no such file, no table, a missing
    column, a cell that is not a number or not a time, an infinite value, an empty time or item,
    and rows that share item and time unless `stream.duplicates` names the repair.
    """
    frame = read_frame(source, text_columns=_text_columns(stream, columns))
    where = name_of(source)
    _require_columns(frame, stream, columns, where)
    if frame.empty:
        raise DataError(f"{where}: no row below the header. Give a file that holds data.")

    problems: list[str] = []
    items = times = None
    has_time_zone = False
    if stream.item is not None:
        items, found = _read_items(frame[stream.item], where)
        problems += found
    if stream.time is not None:
        times, has_time_zone, found = _read_times(frame[stream.time], where)
        problems += found
    values: dict[str, npt.NDArray[Any]] = {}
    for column in columns:
        if column.type == "number":
            values[column.name], found = _read_numbers(frame[column.name], stream, where)
            problems += found
        else:
            values[column.name] = _read_names(frame[column.name], stream)
    raise_all(DataError, problems)
    return _sort_and_deduplicate(Table(where, items, times, values, has_time_zone), stream, frame)


def format_times(times: npt.NDArray[np.int64], has_time_zone: bool) -> npt.NDArray[np.object_]:
    """Write times as ISO 8601, with `Z` when the streams state a time zone."""
    stamps = pd.DatetimeIndex(np.asarray(times, dtype="datetime64[us]"))
    pattern = "%Y-%m-%dT%H:%M:%S" if has_time_zone else "%Y-%m-%d %H:%M:%S"
    if (stamps.microsecond != 0).any():
        pattern += ".%f"
    plain = stamps.strftime(pattern)
    return (plain + "Z" if has_time_zone else plain).to_numpy(dtype=object)


def _text_columns(stream: StreamConfig, columns: tuple[ColumnSchema, ...]) -> list[str]:
    names = [column.name for column in columns if column.type == "category"]
    return names + [column for column in (stream.time, stream.item) if column is not None]


def _require_columns(
    frame: pd.DataFrame, stream: StreamConfig, columns: tuple[ColumnSchema, ...], where: str
) -> None:
    wanted = [column for column in (stream.time, stream.item) if column is not None]
    wanted += [column.name for column in columns]
    present = [str(column) for column in frame.columns]
    raise_all(
        DataError,
        (
            f"{where}: no column {name!r}{nearest(name, present, _listing(present))}"
            for name in wanted
            if name not in present
        ),
    )


def require_trained_columns(source: Source, schema: StreamSchema) -> None:
    """Raise DataError, with the difference, when columns that a model was trained on are missing.

    Columns that it was not trained on are no fault; they are named where one of them may be a
    missing one under another name.
    """
    present = [str(column) for column in read_frame(source, num_rows=0).columns]
    keys = [column for column in (schema.time, schema.item) if column is not None]
    trained = keys + [column.name for column in schema.columns]
    missing = [name for name in trained if name not in present]
    if not missing:
        return
    unknown = [name for name in present if name not in trained]
    lines = [f"{name_of(source)}: columns differ from those trained on:"]
    lines += [f"  - {name}  (missing)" for name in missing]
    for name in unknown:
        hint = nearest(name, missing, "")
        if hint:
            lines.append(f"  + {name}  (unknown{hint})")
    lines.append("  Rename the columns of the file, or give one that has those of training.")
    raise DataError("\n".join(lines))


def _listing(names: list[str]) -> str:
    return f"; the file has {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}."


def _first(faulty: npt.NDArray[np.bool_]) -> tuple[int, str]:
    """Return the first faulty row, and how many more there are in words."""
    count = int(faulty.sum())
    more = f" (and {count - 1} more rows)" if count > 1 else ""
    return int(faulty.argmax()), more


def _read_items(column: pd.Series, where: str) -> tuple[npt.NDArray[np.object_], list[str]]:
    empty = column.isna().to_numpy()
    problems = []
    if empty.any():
        row, more = _first(empty)
        problems.append(
            f"{where}, row {row + 2}, column {column.name!r}: the item is empty{more}. "
            "Fill it in, or take out the row."
        )
    return column.astype(str).to_numpy(dtype=object), problems


def _read_times(column: pd.Series, where: str) -> tuple[npt.NDArray[np.int64], bool, list[str]]:
    if pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"{where}, column {column.name!r}: holds numbers, not times. "
            "Write times as 2013-10-01 14:00 (ISO 8601)."
        )
    if pd.api.types.is_datetime64_any_dtype(column):
        has_time_zone = getattr(column.dt, "tz", None) is not None
        parsed = column.dt.tz_convert("UTC").dt.tz_localize(None) if has_time_zone else column
    else:
        text = column.astype(str)
        has_offset = text.str.contains(_HAS_OFFSET, regex=True)
        has_time_zone = bool(has_offset.any())
        if has_time_zone and not has_offset.all():
            row, more = _first((~has_offset).to_numpy())
            return (
                np.zeros(len(column), dtype=np.int64),
                True,
                [
                    f"{where}, row {row + 2}, column {column.name!r}: {text.iloc[row]!r} has no "
                    f"UTC offset, while other rows have one{more}. Write all times alike."
                ],
            )
        parsed = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
        parsed = parsed.dt.tz_localize(None)
    unreadable = parsed.isna().to_numpy()
    problems = []
    if unreadable.any():
        row, more = _first(unreadable)
        cell = column.iloc[row]
        said = "the time is empty" if pd.isna(cell) else f"{cell!r} is not an ISO 8601 time"
        problems.append(
            f"{where}, row {row + 2}, column {column.name!r}: {said}{more}. "
            "Write it as 2013-10-01 14:00."
        )
    return parsed.to_numpy(dtype="datetime64[us]").astype(np.int64), has_time_zone, problems


def _read_numbers(
    column: pd.Series, stream: StreamConfig, where: str
) -> tuple[npt.NDArray[np.float64], list[str]]:
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = [float(m) for m in stream.missing_values if _is_number(m)]
        missing = column.isna().to_numpy() | np.isin(values, numbers)
    else:
        words = {str(m) for m in stream.missing_values}
        text = column.astype("string").str.strip()
        missing = (text.isna() | text.isin(words) | (text == "")).fillna(True).to_numpy(dtype=bool)
        # As pandas itself reads a column of flags without a gap.
        text = text.str.lower().replace(_FLAGS) if text.str.lower().isin(_FLAGS).any() else text
        values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = [float(m) for m in stream.missing_values if _is_number(m)]
        missing |= np.isin(values, numbers)
    problems = []
    not_numbers = np.isnan(values) & ~missing
    if not_numbers.any() and not pd.api.types.is_numeric_dtype(column):
        row, more = _first(not_numbers)
        cell = column.iloc[row]
        problems.append(
            f"{where}, row {row + 2}, column {column.name!r}: {cell!r} is not a number{more}. "
            f"Write it as an empty cell, add {cell!r} to missing_values of the stream, "
            "or list the column under 'category'."
        )
    infinite = np.isinf(values) & ~missing
    if infinite.any():
        row, more = _first(infinite)
        problems.append(
            f"{where}, row {row + 2}, column {column.name!r}: the value is infinite{more}. "
            "Write it as an empty cell."
        )
    return np.where(missing, np.nan, values), problems


def _is_number(value: str | int | float) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _read_names(column: pd.Series, stream: StreamConfig) -> npt.NDArray[np.object_]:
    words = {str(m) for m in stream.missing_values}
    text = column.astype("string")
    missing = (text.isna() | text.isin(words)).to_numpy(dtype=bool)
    names = text.to_numpy(dtype=object)
    names[missing] = None
    return names


def _sort_and_deduplicate(table: Table, stream: StreamConfig, frame: pd.DataFrame) -> Table:
    items = None if table.items is None else pd.factorize(table.items, sort=True)[0]
    order = np.lexsort([key for key in (table.times, items) if key is not None])
    if not np.array_equal(order, np.arange(len(order))):
        logger.info("%s: rows sorted by item and time", table.source)
    table = table.take(order)
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = True
    for key in (table.times, table.items):
        if key is not None:
            repeated[1:] &= key[1:] == key[:-1]
    if not repeated.any():
        return table
    if stream.duplicates == "error":
        second, more = _first(repeated)
        columns = [c for c in (stream.item, stream.time) if c is not None]
        cells = ", ".join(f"{c} {frame[c].iloc[order[second]]}" for c in columns)
        raise DataError(
            f"{table.source}, rows {order[second - 1] + 2} and {order[second] + 2}: both are "
            f"{cells}{more}. Take one out, or set duplicates: mean, first or last for the stream."
        )
    logger.warning(
        "%s: %d rows share item and time with another; kept the %s",
        table.source,
        int(repeated.sum()),
        stream.duplicates,
    )
    return _merge(table, repeated, stream.duplicates)


def _merge(table: Table, repeated: npt.NDArray[np.bool_], how: str) -> Table:
    """Merge runs of rows that share item and time; a category keeps its first or last name."""
    first = ~repeated
    last = np.append(~repeated[1:], True)
    merged = table.take(last if how == "last" else first)
    if how == "mean":
        group = np.cumsum(first) - 1
        for name, values in table.columns.items():
            if values.dtype == np.float64:
                merged.columns[name] = pd.Series(values).groupby(group).mean().to_numpy()
    return merged


def iterate_items(table: Table) -> Iterator[tuple[str | None, slice]]:
    """Yield each item of a sorted table with its rows; (None, all rows) when it has no items."""
    if table.items is None:
        yield None, slice(0, len(table))
        return
    if len(table) == 0:
        return
    begins = np.flatnonzero(np.append(True, table.items[1:] != table.items[:-1]))
    for begin, end in zip(begins, np.append(begins[1:], len(table)), strict=True):
        yield str(table.items[begin]), slice(int(begin), int(end))
