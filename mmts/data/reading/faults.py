"""What is wrong with the cells of a table, gathered over all its chunks and told at once.

A fault of one kind in one column is told by its first row, with the number of rows that follow.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mmts.errors import DataError, raise_all, shortened


@dataclass(frozen=True)
class Rows:
    """The numbers of a chunk's rows in their source, as an editor counts lines from 1.

    where: name of the source, for messages. first: number of the first row.
    numbers: (row,) the number of each row, where they do not just count on from the first.
    """

    where: str
    first: int
    numbers: npt.NDArray[np.int64] | None = None

    def number(self, row: int) -> int:
        """Return the number of one of these rows."""
        return self.first + row if self.numbers is None else int(self.numbers[row])


@dataclass
class _Fault:
    place: str
    said: str
    remedy: str
    count: int


@dataclass
class Faults:
    """The faults of one table: (column, kind) to the first of them and how many there are."""

    _found: dict[tuple[str, str], _Fault] = field(default_factory=dict)
    _headers: set[tuple[str, int]] = field(default_factory=set)

    def add(
        self, rows: Rows, row: int, count: int, column: str | None, said: str, remedy: str,
        kind: str,
    ) -> None:  # fmt: skip
        """Note that `count` rows of a chunk, of which `row` is the first, have a fault."""
        key = (column or "", kind)
        if key in self._found:
            self._found[key].count += count
            return
        place = f"{rows.where}, row {rows.number(row)}"
        if column is not None:
            place += f", column {column!r}"
        self._found[key] = _Fault(place, said, remedy, count)

    def add_header(self, rows: Rows, row: int) -> None:
        """Note that a row repeats the header, which its every cell may tell."""
        place = (rows.where, rows.number(row))
        if place not in self._headers:
            self._headers.add(place)
            self.add(rows, row, 1, None, "repeats the header", "Take it out.", "header")

    def add_mask(
        self, rows: Rows, faulty: npt.NDArray[np.bool_], column: str | None, said: str,
        remedy: str, kind: str,
    ) -> None:  # fmt: skip
        """Note the faulty rows of a chunk, (row,)."""
        count = int(faulty.sum())
        if count:
            self.add(rows, int(faulty.argmax()), count, column, said, remedy, kind)

    def __bool__(self) -> bool:
        """Tell whether any was found."""
        return bool(self._found)

    def raise_all(self) -> None:
        """Raise DataError with one line for each, when there are any."""
        raise_all(DataError, (_line(fault) for fault in self._found.values()))


def _line(fault: _Fault) -> str:
    said, remedy = shortened(fault.said), shortened(fault.remedy)
    return f"{fault.place}: {said}{and_more(fault.count)}. {remedy}"


def and_more(count: int) -> str:
    """Say how many rows besides the first one are concerned."""
    if count < 2:
        return ""
    return f" (and {count - 1} more row{'s' if count > 2 else ''})"


@dataclass
class RowBook:
    """Which row of which source each row of the whole table was."""

    _starts: list[int] = field(default_factory=list)
    _chunks: list[Rows] = field(default_factory=list)
    num_rows: int = 0

    def add(self, rows: Rows, count: int) -> None:
        """Take note of the next chunk."""
        last = self._chunks[-1] if self._chunks else None
        follows = (
            last is not None
            and last.numbers is None
            and rows.numbers is None
            and last.where == rows.where
            and last.first + self.num_rows - self._starts[-1] == rows.first
        )
        if not follows:
            self._starts.append(self.num_rows)
            self._chunks.append(rows)
        self.num_rows += count

    def find(self, row: int) -> tuple[Rows, int]:
        """Return the chunk of a row of the table, and the row in it."""
        place = bisect_right(self._starts, row) - 1
        return self._chunks[place], row - self._starts[place]

    def number(self, row: int) -> int:
        """Return the number that a row of the table has in its source."""
        rows, place = self.find(row)
        return rows.number(place)

    def where(self, row: int) -> str:
        """Return the name of the source of a row of the table."""
        return self.find(row)[0].where
