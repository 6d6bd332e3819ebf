"""Reading the files of one stream, or one data frame, into checked columns.

This is a door: whatever is wrong with a file is said here, with row, column, value and remedy,
and everything behind it trusts what it gets. Rows are counted as an editor does, the header
being row 1; those of data frames and Parquet files, which have no header line, from 1.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.clock import DAY
from mmts.data.config import ItemFrom, ReadingConfig, StreamConfig
from mmts.data.reading.cells import CellReader, FlagReader, NumberReader
from mmts.data.reading.chunks import CellKind, Headers, iterate_chunks, read_names
from mmts.data.reading.faults import Faults, RowBook
from mmts.data.reading.names import NameReader
from mmts.data.reading.sinks import ColumnSink, MemorySinks, Sinks
from mmts.data.reading.sorting import Order, find_order
from mmts.data.reading.sources import Source, find_files, item_of, name_of
from mmts.data.reading.stamps import UNIX, StampReader
from mmts.data.reading.zones import localize, localize_latest
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.table import Table, Words
from mmts.errors import DataError, nearest, raise_all, shortened

MOST_COLUMNS = 10_000
"""Columns that are read unless they are named."""

logger = logging.getLogger(__name__)


def choose_columns(source: Source, stream: StreamConfig) -> tuple[ColumnSchema, ...]:
    """Return the columns that a stream holds, with role and type, in a fixed order.

    Without any role in the config these are all columns of the file, as past; of several files
    those of the first.
    """
    roles = {name.strip(): role for name, role in stream.roles()}
    keys = _keys(stream)
    if not roles and not stream.text:
        header = next(iter(read_names(source, stream, keys).values()))
        if any(not name or name.startswith("Unnamed: ") for name in header):
            # The second is what pandas makes of a column without a name.
            raise DataError(
                f"{name_of(source)}: a column has no name. Name it, take it out, or list the "
                "columns to read under 'past'."
            )
        if len(header) > MOST_COLUMNS:
            raise DataError(
                f"{name_of(source)}: {len(header):,} columns, of which none is named. List those "
                f"to read under 'past'; of all, {MOST_COLUMNS:,} at most are read."
            )
        roles = {c: "past" for c in header if c not in keys}
    for column in (*stream.category, *stream.flag, *stream.text):
        roles.setdefault(column.strip(), "past")
    if not roles:
        raise DataError(f"{name_of(source)}: no column besides time and item. Add one with values.")
    types = {
        name.strip(): stream.type_of(name)
        for name in (*stream.category, *stream.flag, *stream.text)
    }
    buckets = {name.strip(): count for name, count in stream.hash_buckets.items()}
    return tuple(
        ColumnSchema(
            name=name,
            role=role,
            type=types.get(name, "number"),
            width=stream.text_features.dim if types.get(name) == "text" else 1,
            buckets=buckets.get(name),
        )
        for name, role in roles.items()
    )


def require_trained_columns(
    source: Source, schema: StreamSchema, reading: ReadingConfig | None = None
) -> None:
    """Raise DataError, with the difference, when columns that a model was trained on are missing.

    reading: how the files are written, where it is not the usual CSV.
    Columns that it was not trained on are no fault; they are named where one of them may be a
    missing one under another name.
    """
    keys = [c.strip() for c in (schema.time, schema.item, schema.available_at) if c is not None]
    trained = keys + [column.name for column in schema.columns]
    problems = []
    for where, present in read_names(source, reading or ReadingConfig(), trained).items():
        missing = [name for name in trained if name not in present]
        if not missing:
            continue
        lines = [f"{where}: columns differ from those trained on:"]
        lines += [f"  - {name}  (missing)" for name in missing]
        for name in present:
            hint = nearest(name, missing, "") if name not in trained else ""
            if hint:
                lines.append(f"  + {name}  (unknown{hint})")
        lines.append("  Rename the columns of the file, or give one that has those of training.")
        problems.append("\n".join(lines))
    raise_all(DataError, problems)


def read_table(
    source: Source,
    stream: StreamConfig,
    columns: tuple[ColumnSchema, ...],
    sinks: Sinks | None = None,
    chunk_size: int | None = None,
) -> Table:
    """Read the named columns of one stream.

    sinks: where columns go as they are read; by default memory. chunk_size: in bytes of a CSV
    file, or in rows; it changes nothing but memory and speed.
    Raises DataError, with every fault found, for: no such file, no table, a missing column, a
    cell that is not a number or not a time, an infinite value, an empty time or item, a time that
    its zone skips, and rows that share item and time unless `stream.duplicates` names the repair.
    """
    where = name_of(source)
    if stream.item_from != "column":
        _require_unique_items(source, stream.item_from)
    headers = read_names(source, stream, (*_keys(stream), *(c.name for c in columns)))
    index = source.index.names if isinstance(source, pd.DataFrame) else ()
    if stream.time is not None and stream.time in index:
        raise DataError(f"{where}: {stream.time!r} is its index. Give frame.reset_index().")
    _require_columns(headers, (*_keys(stream), *(column.name for column in columns)))
    _require_known_ranges(stream, columns, where)
    raw = _RawTable(stream, columns, sinks or MemorySinks())
    for chunk in iterate_chunks(source, raw.kinds, stream, chunk_size):
        raw.book.add(chunk.rows, chunk.num_rows)
        for name, reader in raw.readers.items():
            reader.add(chunk.columns[name], chunk.rows, raw.faults)
        if raw.by_file is not None and chunk.file is not None:
            raw.by_file.add_constant(item_of(chunk.file, stream.item_from), chunk.num_rows)
    if not raw.book.num_rows and not raw.faults:
        below = "no row" if isinstance(source, pd.DataFrame) else "no row below the header"
        raise DataError(f"{where}: {below}. Give a file that holds data.")
    return raw.finish(where)


def _require_known_ranges(
    stream: StreamConfig, columns: tuple[ColumnSchema, ...], where: str
) -> None:
    read = [column.name for column in columns]
    raise_all(
        DataError,
        (
            f"{where}: 'valid_range' names {name!r}, which is not read{nearest(name, read)}"
            for name in stream.valid_range
            if name.strip() not in read
        ),
    )


def _require_unique_items(source: Source, item_from: ItemFrom) -> None:
    if isinstance(source, pd.DataFrame):
        raise DataError(f"{name_of(source)}: has no path that names its items. Give the files.")
    files: dict[str, str] = {}
    problems = []
    for file in find_files(source):
        item = item_of(file, item_from)
        other = files.setdefault(item, str(file))
        if other != str(file):
            problems.append(f"{other} and {file} are both item {item!r}. Rename one.")
    raise_all(DataError, problems)


def _keys(stream: StreamConfig) -> tuple[str, ...]:
    return tuple(column.strip() for column in stream.keys)


def _require_columns(headers: Headers, wanted: tuple[str, ...]) -> None:
    raise_all(
        DataError,
        (
            f"{where}: no column {name!r}{nearest(name, present, _listing(present))}"
            for where, present in headers.items()
            for name in wanted
            if name not in present
        ),
    )


def _listing(names: tuple[str, ...]) -> str:
    shown = shortened(", ".join(names[:12]))
    return f"; the file has {shown}{', ...' if len(names) > 12 else ''}."


class _RawTable:
    """The columns of a stream as they are read, in the order of the files."""

    def __init__(
        self, stream: StreamConfig, columns: tuple[ColumnSchema, ...], sinks: Sinks
    ) -> None:
        self.faults = Faults()
        self.book = RowBook()
        self.readers: dict[str, CellReader] = {}
        self.kinds: dict[str, CellKind] = {}
        self.by_file: NameReader | None = None
        self._stream = stream
        self._columns = columns
        self._sinks = sinks
        self._growing: dict[str, ColumnSink] = {}
        self._items: NameReader | None = None
        self._times: StampReader | None = None
        self._available: StampReader | None = None
        stamps: CellKind = "number" if stream.time_format in UNIX else "key"
        if stream.item_from != "column":
            self.by_file = self._items = NameReader("", stream, self._open("items", np.int32))
        elif stream.item is not None:
            sink = self._open("items", np.int32)
            self._items = NameReader(stream.item, stream, sink, is_item=True)
            self._add(stream.item, "key", self._items)
        if stream.time is not None:
            self._times = StampReader(stream.time, stream, self._open("times", np.int64))
            self._add(stream.time, stamps, self._times)
        if stream.available_at is not None:
            sink = self._open("available", np.int64)
            self._available = StampReader(stream.available_at, stream, sink, to_end=True)
            self._add(stream.available_at, stamps, self._available)
        for column in columns:
            self._add(column.name, *self._reader_of(column))

    def finish(self, where: str) -> Table:
        """Return the sorted table, when all chunks are read; raise what was found."""
        stream, faults = self._stream, self.faults
        for reader in (self._times, self._available):
            if reader is not None:
                reader.finish(faults)
        faults.raise_all()
        self._log_outside(where)
        items = names = None
        if self._items is not None:
            items, names = self._sorted_codes("items", self._items)
        times = None if self._times is None else self._growing["times"].finish()
        has_time_zone = self._times is not None and bool(self._times.has_offset)
        if times is not None and not has_time_zone and stream.time_zone is not None:
            times, has_time_zone = self._localized(times, items), True
        available = self._finish_available(has_time_zone, where)
        faults.raise_all()
        order = find_order(items, times, names, stream, self.book, where, has_time_zone)
        items = None if items is None else self._ordered("items", items, order, "first")
        begin, end = _bounds(items, names, self._num_rows(order))
        times = None if times is None else self._ordered("times", times, order, "first")
        if available is not None:
            how = "latest" if order.how == "mean" else order.how
            available = self._ordered("available", available, order, how)
        return Table(
            source=where,
            items=names,
            begin=begin,
            end=end,
            times=times,
            columns={column.name: self._finish_column(column, order) for column in self._columns},
            has_time_zone=has_time_zone,
            available=available,
        )

    def _open(self, name: str, dtype: npt.DTypeLike) -> ColumnSink:
        self._growing[name] = self._sinks.open(name, dtype)
        return self._growing[name]

    def _add(self, name: str, kind: CellKind, reader: CellReader) -> None:
        self.readers[name.strip()] = reader
        self.kinds[name.strip()] = kind

    def _reader_of(self, column: ColumnSchema) -> tuple[CellKind, CellReader]:
        stream, name = self._stream, f"columns.{column.name}"
        if column.type == "number":
            sink = self._open(name, np.float64)
            return "number", NumberReader(column.name, stream, sink)
        if column.type == "flag":
            return "number", FlagReader(column.name, stream, self._open(name, np.float64))
        is_prose = column.type == "text"
        reader = NameReader(column.name, stream, self._open(name, np.int32), is_prose=is_prose)
        return "word", reader

    def _log_outside(self, where: str) -> None:
        for name, reader in self.readers.items():
            if isinstance(reader, NumberReader) and reader.num_outside:
                logger.info(
                    "%s: %d values of column %r outside of valid_range are taken as missing",
                    where, reader.num_outside, name,
                )  # fmt: skip

    def _sorted_codes(
        self, name: str, reader: NameReader
    ) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        codes = self._growing[name].finish()
        words, places = reader.sorted_words()
        if np.array_equal(places[:-1], np.arange(len(words))):
            return codes, words
        return places[codes], words

    def _localized(
        self, times: npt.NDArray[np.int64], items: npt.NDArray[np.int32] | None
    ) -> npt.NDArray[np.int64]:
        zone, column = self._stream.time_zone, self._stream.time
        assert zone is not None and column is not None
        sink = self._open("times", np.int64)
        localize(times, items, zone, column, self.book, self.faults, sink.append)
        return sink.finish()

    def _finish_available(self, has_time_zone: bool, where: str) -> npt.NDArray[np.int64] | None:
        if self._available is None:
            return None
        available = self._growing["available"].finish()
        if self._available.are_dates:
            available = available + DAY
        num_ended, num_timed = self._available.num_ended, self._available.num_timed
        if self._available.are_dates or (num_ended and not num_timed):
            logger.info("%s: rows are available at the end of their day", where)
        elif num_ended:
            logger.warning(
                "%s: %d cells of column %r name a day without a time, beside %d that have one: "
                "those rows count as available at the end of the day. Write the time as well where "
                "they were available earlier.",
                where, num_ended, self._stream.available_at, num_timed,
            )  # fmt: skip
        has_offset = bool(self._available.has_offset)
        if not has_offset and self._stream.time_zone is not None:
            available, has_offset = localize_latest(available, self._stream.time_zone), True
        if has_offset != has_time_zone:
            with_one, without = self._stream.available_at, self._stream.time
            if has_time_zone:
                with_one, without = without, with_one
            raise DataError(
                f"{where}: the times of column {with_one!r} state a UTC offset, and those of "
                f"{without!r} do not. Write both alike, or set time_zone for the stream."
            )
        return available

    def _ordered(self, name: str, values: Any, order: Order, how: str) -> Any:
        if order.changes_nothing:
            return values
        sink = self._open(name, values.dtype)
        for block in order.apply(values, how):
            sink.append(block)
        return sink.finish()

    def _finish_column(self, column: ColumnSchema, order: Order) -> npt.NDArray[np.float64] | Words:
        name, reader = f"columns.{column.name}", self.readers[column.name]
        if isinstance(reader, NameReader):
            codes, words = self._sorted_codes(name, reader)
            how = "first" if order.how == "mean" else order.how
            return Words(self._ordered(name, codes, order, how), words)
        values: npt.NDArray[np.float64] = self._growing[name].finish()
        ordered: npt.NDArray[np.float64] = self._ordered(name, values, order, order.how)
        return ordered

    def _num_rows(self, order: Order) -> int:
        return self.book.num_rows if order.first is None else int(order.first.sum())


def _bounds(
    items: npt.NDArray[np.int32] | None, names: tuple[str, ...] | None, num_rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the sorted rows of each item begin and end."""
    if items is None or names is None:
        return np.array([0]), np.array([num_rows])
    places = np.arange(len(names), dtype=items.dtype)
    begin = np.searchsorted(items, places)
    end = np.searchsorted(items, places, side="right")
    return begin.astype(np.int64), end.astype(np.int64)
