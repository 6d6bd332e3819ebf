"""Rows of a stream on a fixed clock, which are found by arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.data.row_windows import take_rows
from mmts.data.streams import Stream
from mmts.data.windows import Windows

_CHUNK = 1 << 16
"""Windows that are looked at together."""


@dataclass(frozen=True)
class GridRows:
    """The rows of each window, as many for all.

    shift: (item,) int64 microseconds; as many periods as lie in an origin and this are there
        before the first row of its window.
    all_inside: whether every window lies in the rows of its item.
    """

    stream: Stream
    num_rows: int
    every: int
    shift: Tensor
    all_inside: bool = False

    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first row of each window, and how long ago it might have come before that.

        Both (window,) int64; the time is below one period, and in microseconds.
        """
        counted = origins + self.shift.index_select(0, items)
        first = torch.div(counted, self.every, rounding_mode="floor")
        return first, counted - first * self.every

    def take(self, items: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and what is observed of them, both (window, step, channel)."""
        return take_rows(self.stream, items, first, self.num_rows, self.all_inside)

    def all_lie_inside(self, windows: Windows) -> bool:
        """Look whether every window lies in the rows of its item."""
        begin, end = self.stream.begin, self.stream.end
        return all(
            bool(((first >= begin[items]) & (first + self.num_rows <= end[items])).all())
            for items, first, _ in self.look_through(windows)
        )

    def look_through(self, windows: Windows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield items, and what `place` says, of some windows after the others."""
        for begin in range(0, len(windows), _CHUNK):
            items = windows.items[begin : begin + _CHUNK].long()
            yield items, *self.place(items, windows.origins[begin : begin + _CHUNK])


def find_grid_rows(
    stream: Stream, num_before: int, num_rows: int, delay: int = 0
) -> GridRows | None:
    """Return rows around each origin; None where the clock is no fixed one.

    num_before: rows before the first that is not over at the origin. delay: microseconds by which
    a row must be over. As `find_anchors` has it.
    """
    clock = stream.schema.clock
    if clock is None or clock.is_calendar:
        return None
    shift = (stream.begin - num_before) * clock.every - stream.first_time - delay
    return GridRows(stream, num_rows, clock.every, shift)
