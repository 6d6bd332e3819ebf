"""Reading one CSV file, or one data frame, into checked columns.

This is a door: whatever is wrong with a file is said here, with row, column, value and remedy,
and everything behind it trusts what it gets. Rows are counted as an editor does, the header
being row 1.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import StreamConfig
from mmts.data.frames import Source, name_of, read_frame
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.table import Table, Words
from mmts.data.times import format_times
from mmts.errors import DataError, nearest, raise_all

_HAS_OFFSET = r"\d:?\d{2}(?:\.\d+)?\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_FLAGS = {"true": "1", "false": "0"}

logger = logging.getLogger(__name__)


def choose_columns(source: Source, stream: StreamConfig) -> tuple[ColumnSchema, ...]:
    """Return the columns that a stream holds, with role and type, in a fixed order.

    Without any role in the config these are all columns of the file, as past.
    """
    roles = dict(stream.roles())
    if not roles and not stream.text:
        header = list(read_frame(source, num_rows=0).columns)
        if any(str(name).startswith("Unnamed: ") for name in header):
            # As pandas calls a column without a name, such as the index that its to_csv writes.
            raise DataError(
                f"{name_of(source)}: a column has no name. Name it, take it out, or list the "
                "columns to read under 'past'."
            )
        roles = {c: "past" for c in header if c not in stream.keys}
    typed = (*stream.category, *stream.flag, *stream.text)
    roles |= {column: "past" for column in typed if column not in roles}
    if not roles:
        raise DataError(f"{name_of(source)}: no column besides time and item. Add one with values.")
    return tuple(
        ColumnSchema(
            name=name,
            role=role,
            type=stream.type_of(name),
            width=stream.text_features.dim if name in stream.text else 1,
            buckets=stream.hash_buckets.get(name),
        )
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
    words: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if column.type in ("number", "flag"):
            values[column.name], found = _read_numbers(frame[column.name], stream, where)
            problems += found
        else:
            names = _read_names(frame[column.name], stream)
            values[column.name], words[column.name] = _to_codes(names)
    raise_all(DataError, problems)
    codes, names = (None, None) if items is None else _to_codes(items)
    keys = _Keys(codes, times, names)
    keys, values = _sort_and_deduplicate(keys, values, stream, where)
    begin, end = keys.bounds(len(next(iter(values.values()))))
    return Table(
        source=where,
        items=names,
        begin=begin,
        end=end,
        times=keys.times,
        columns={
            name: Words(column, words[name]) if name in words else column
            for name, column in values.items()
        },
        has_time_zone=has_time_zone,
    )


class _Keys(NamedTuple):
    """Whose each row is and when: items (row,) int32 places in names, times (row,) int64."""

    items: npt.NDArray[np.int32] | None
    times: npt.NDArray[np.int64] | None
    names: tuple[str, ...] | None

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> _Keys:
        """Return the keys of some rows."""
        return _Keys(
            None if self.items is None else self.items[rows],
            None if self.times is None else self.times[rows],
            self.names,
        )

    def bounds(self, num_rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where the sorted rows of each item begin and end."""
        if self.items is None or self.names is None:
            return np.array([0]), np.array([num_rows])
        places = np.arange(len(self.names), dtype=self.items.dtype)
        begin = np.searchsorted(self.items, places)
        end = np.searchsorted(self.items, places, side="right")
        return begin.astype(np.int64), end.astype(np.int64)

    def describe(self, row: int, stream: StreamConfig) -> str:
        """Name the item and time of a row."""
        cells = []
        if self.items is not None and self.names is not None:
            cells.append(f"{stream.item} {self.names[self.items[row]]}")
        if self.times is not None:
            cells.append(f"{stream.time} {format_times(self.times[row : row + 1], False)[0]}")
        return ", ".join(cells)


def _to_codes(names: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    codes, words = pd.factorize(names, sort=True)
    return codes.astype(np.int32), tuple(str(word) for word in words)


def _text_columns(stream: StreamConfig, columns: tuple[ColumnSchema, ...]) -> list[str]:
    names = [column.name for column in columns if column.type in ("category", "text")]
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


def _sort_and_deduplicate(
    keys: _Keys, columns: dict[str, npt.NDArray[Any]], stream: StreamConfig, where: str
) -> tuple[_Keys, dict[str, npt.NDArray[Any]]]:
    """Sort rows by item and time, and merge those that share both as the config names."""
    order = np.lexsort([key for key in (keys.times, keys.items) if key is not None])
    if not np.array_equal(order, np.arange(len(order))):
        logger.info("%s: rows sorted by item and time", where)
    keys, columns = keys.take(order), {name: values[order] for name, values in columns.items()}
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = True
    for key in (keys.times, keys.items):
        if key is not None:
            repeated[1:] &= key[1:] == key[:-1]
    if not repeated.any():
        return keys, columns
    if stream.duplicates == "error":
        second, more = _first(repeated)
        rows = f"rows {order[second - 1] + 2} and {order[second] + 2}"
        cells = keys.describe(second, stream)
        raise DataError(
            f"{where}, {rows}: both are {cells}{more}. "
            "Take one out, or set duplicates: mean, first or last for the stream."
        )
    logger.warning(
        "%s: %d rows share item and time with another; kept the %s",
        where,
        int(repeated.sum()),
        stream.duplicates,
    )
    first = ~repeated
    kept = np.append(first[1:], True) if stream.duplicates == "last" else first
    merged = {name: values[kept] for name, values in columns.items()}
    if stream.duplicates == "mean":
        group = np.cumsum(first) - 1
        for name, values in columns.items():
            if values.dtype == np.float64:
                merged[name] = pd.Series(values).groupby(group).mean().to_numpy()
    return keys.take(kept), merged
