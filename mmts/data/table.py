"""The checked rows of one stream, before anything is known of its clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Words:
    """A column of names or of prose, each kept once.

    codes: (row,) int32, the place of each row's word; -1 where missing.
    """

    codes: npt.NDArray[np.int32]
    words: tuple[str, ...]


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
