"""Rows sorted by item and time, and those that share both merged as the config names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import StreamConfig
from mmts.data.reading.faults import RowBook, and_more
from mmts.data.times import format_times
from mmts.errors import DataError

_BLOCK = 1 << 20
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """How the rows of a file become those of a table.

    rows: (row,) places in the file in the order of item and time; None where they stand so.
    first: (row,) whether a row begins a new pair of item and time; None where all do.
    how: which of the rows that share a pair is kept.
    """

    rows: npt.NDArray[np.intp] | None
    first: npt.NDArray[np.bool_] | None
    how: str

    @property
    def changes_nothing(self) -> bool:
        """Whether the rows stay as they are."""
        return self.rows is None and self.first is None

    def apply(self, values: npt.NDArray[Any], how: str | None = None) -> Iterator[Any]:
        """Yield a column in its order, block by block, merged where rows share a pair.

        how: mean, latest, first or last; by default as the order says, codes their first.
        """
        how = how or self.how
        if self.first is not None and how in ("mean", "latest"):
            ordered = values if self.rows is None else values[self.rows]
            groups = pd.Series(ordered).groupby(np.cumsum(self.first) - 1)
            yield (groups.mean() if how == "mean" else groups.max()).to_numpy(dtype=values.dtype)
            return
        kept = self._kept(how)
        if kept is None:
            for begin in range(0, len(values), _BLOCK):
                yield values[begin : begin + _BLOCK]
            return
        for begin in range(0, len(kept), _BLOCK):
            yield values[kept[begin : begin + _BLOCK]]

    def _kept(self, how: str) -> npt.NDArray[np.intp] | None:
        if self.first is None:
            return self.rows
        kept = np.append(self.first[1:], True) if how == "last" else self.first
        return np.flatnonzero(kept) if self.rows is None else self.rows[kept]


def find_order(
    items: npt.NDArray[np.int32] | None, times: npt.NDArray[np.int64] | None,
    names: tuple[str, ...] | None, stream: StreamConfig, book: RowBook, where: str,
    has_time_zone: bool,
) -> Order:  # fmt: skip
    """Find the order of rows by item and time.

    items: (row,) places in names. times: (row,) int64.
    Raises DataError when rows share both and the config names no repair.
    """
    keys = [key for key in (times, items) if key is not None]
    rows = None
    if not keys:
        repeated = np.zeros(book.num_rows, dtype=bool)
        repeated[1:] = True
    elif _are_sorted(items, times):
        repeated = _repeated(keys, None)
    else:
        rows = np.lexsort(keys)
        logger.info("%s: rows sorted by item and time", where)
        repeated = _repeated(keys, rows)
    count = int(repeated.sum())
    if not count:
        return Order(rows, None, "first")
    if stream.duplicates == "error":
        second = int(repeated.argmax())
        pair = (second - 1, second) if rows is None else (int(rows[second - 1]), int(rows[second]))
        shown = ()
        if times is not None:
            ordered = times if rows is None else times[rows]
            shown = tuple(ordered[repeated])
        raise DataError(
            f"{_two_rows(pair, book)}: both are {_describe(pair[0], items, times, names, stream)}"
            f"{and_more(count)}. Take one out, or set duplicates: mean, first or last for the "
            f"stream.{'' if has_time_zone else _zone_hint(np.array(shown, dtype=np.int64))}"
        )
    logger.warning(
        "%s: %d rows share item and time with another; kept the %s",
        where, count, stream.duplicates,
    )  # fmt: skip
    return Order(rows, ~repeated, stream.duplicates)


def _are_sorted(items: npt.NDArray[np.int32] | None, times: npt.NDArray[np.int64] | None) -> bool:
    if items is None:
        assert times is not None
        return bool((times[1:] >= times[:-1]).all())
    same = items[1:] == items[:-1]
    if times is not None:
        same &= times[1:] >= times[:-1]
    return bool((same | (items[1:] > items[:-1])).all())


def _repeated(
    keys: list[npt.NDArray[Any]], rows: npt.NDArray[np.intp] | None
) -> npt.NDArray[np.bool_]:
    repeated = np.zeros(len(keys[0]), dtype=bool)
    repeated[1:] = True
    for key in keys:
        ordered = key if rows is None else key[rows]
        repeated[1:] &= ordered[1:] == ordered[:-1]
    return repeated


def _two_rows(pair: tuple[int, int], book: RowBook) -> str:
    places = [(book.where(row), book.number(row)) for row in pair]
    (file, row), (other, second) = places
    if file == other:
        return f"{file}, rows {row} and {second}"
    return f"{file}, row {row} and {other}, row {second}"


def _describe(
    row: int, items: npt.NDArray[np.int32] | None, times: npt.NDArray[np.int64] | None,
    names: tuple[str, ...] | None, stream: StreamConfig,
) -> str:  # fmt: skip
    cells = []
    if items is not None and names is not None:
        cells.append(f"{stream.item or 'item'} {names[items[row]]}")
    if times is not None:
        cells.append(f"{stream.time} {format_times(times[row : row + 1], False)[0]}")
    return ", ".join(cells)


def _zone_hint(times: npt.NDArray[np.int64]) -> str:
    """Suggest a zone when times are doubled in the night when clocks are usually set back."""
    if not times.size:
        return ""
    days = np.unique(times // _DAY)
    hours = np.unique(times % _DAY // _HOUR)
    stamps = [pd.Timestamp(int(day) * _DAY, unit="us") for day in days[:50]]
    usual = all(
        stamp.weekday() == 6
        and (
            (10, 25) <= (stamp.month, stamp.day) <= (11, 7)
            or (4, 1) <= (stamp.month, stamp.day) <= (4, 7)
        )
        for stamp in stamps
    )
    if not usual or len(hours) > 1 or hours[0] > 3:
        return ""
    return (
        " They lie in the hour that a clock of summer time has twice in autumn: if the times are "
        "local, set time_zone to their zone, such as Europe/Berlin."
    )
