"""The checked rows of one stream, before anything is known of its clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

RUN = 1_000_000
"""Rows of items that are looked at together; an item may have more."""

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Words:
    """A column of names or of prose, each kept once.

    codes: (row,) int32, the place of each row's word; -1 where missing.
    """

    codes: npt.NDArray[np.int32]
    words: tuple[str, ...]


@dataclass(frozen=True)
class ItemRun:
    """Items whose rows stand behind one another, to be looked at together.

    rows: of all of them. items: (item,) int64, their places among the items of the table.
    first, last: (item,) int64, the first and the last row of each, counted from that of the run.
    """

    rows: slice
    items: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many rows each item has, (item,)."""
        lengths: npt.NDArray[np.int64] = self.last - self.first + 1
        return lengths

    def per_row(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Repeat what there is of each item, (item,), for all of its rows, (row,)."""
        return np.repeat(values, self.lengths)

    def steps(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the differences from row to row within items; values: (row,)."""
        within = np.ones(len(values) - 1, dtype=bool)
        within[self.last[:-1]] = False
        steps: npt.NDArray[np.int64] = np.diff(values)[within]
        return steps


@dataclass(frozen=True)
class Table:
    """The rows of one stream, sorted by item and time; arrays may lie on disk, memory-mapped.

    source: file name, for messages.
    items: names of the items, sorted; None when the stream serves all items.
    begin, end: (item,) int64, the rows of each item; one pair when there are no items. Rows
        outside of all items count for nothing.
    times: (row,) int64 microseconds, UTC or naive; None when the stream is static.
    available: (row,) int64 microseconds, when each row became known, where a column tells.
    columns: per column (row,): float64 with NaN where missing for numbers and flags, else words.
    has_time_zone: whether the times are UTC.
    """

    source: str
    items: tuple[str, ...] | None
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64] | None
    columns: dict[str, npt.NDArray[np.float64] | Words]
    has_time_zone: bool
    available: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of rows that count."""
        return int((self.end - self.begin).sum())

    def iterate_items(self) -> Iterator[tuple[str | None, slice]]:
        """Yield each item with its rows; (None, all rows) when there are no items."""
        names = (None,) if self.items is None else self.items
        for item, begin, end in zip(names, self.begin, self.end, strict=True):
            if begin < end:
                yield item, slice(int(begin), int(end))

    def iterate_runs(self) -> Iterator[ItemRun]:
        """Yield all items that have rows, in order, as many together as `RUN` rows allow."""
        present = np.flatnonzero(self.begin < self.end)
        begin, end = self.begin[present], self.end[present]
        # Runs are cut where an item does not begin where the one before it ends.
        apart = np.flatnonzero(begin[1:] != end[:-1]) + 1
        for piece in np.split(np.arange(len(present)), apart):
            while len(piece):
                since = begin[piece[0]]
                number = max(1, int(np.searchsorted(end[piece], since + RUN, side="right")))
                here, piece = piece[:number], piece[number:]
                rows = slice(int(since), int(end[here[-1]]))
                yield ItemRun(rows, present[here], begin[here] - since, end[here] - since - 1)

    def select(self, items: Collection[str]) -> Table:
        """Return the table of some items only; one without items stays as it is."""
        if self.items is None or set(self.items) <= set(items):
            return self
        wanted = set(items)
        keep = [place for place, item in enumerate(self.items) if item in wanted]
        return replace(
            self,
            items=tuple(self.items[place] for place in keep),
            begin=self.begin[keep],
            end=self.end[keep],
        )

    def counted(self) -> npt.NDArray[np.bool_]:
        """Tell which rows belong to an item that counts, (row,)."""
        first = next(iter(self.columns.values()))
        counted = np.zeros(len(first.codes if isinstance(first, Words) else first), dtype=bool)
        for _, place in self.iterate_items():
            counted[place] = True
        return counted

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers or flags."""
        values = self.columns[column]
        assert not isinstance(values, Words)
        return values

    def words(self, column: str) -> Words:
        """Return a column of names or of prose."""
        values = self.columns[column]
        assert isinstance(values, Words)
        return values
