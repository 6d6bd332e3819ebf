"""Whose each row of a stream is, when it begins, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mmts.data.availability import NEVER
from mmts.data.scaling import StreamScaling
from mmts.data.streams import Stream

Integers = npt.NDArray[np.int64]


class Gap(NamedTuple):
    """Places of a grid, behind one another, that hold no value: [start, end) in microseconds."""

    item: int
    start: int
    end: int
    num_places: int


@dataclass(frozen=True)
class Coverage:
    """The rows of one stream, on the clock or not.

    A row of which every cell is empty, and a place of the grid without a row, are one and the
    same here, as they are to a model.
    items: (row,) places in the list of items; all zero where the stream serves all items.
    starts: (row,) microseconds, when the period of each row begins; zero where it is static.
    """

    stream: Stream
    scaling: StreamScaling
    items: Integers
    starts: Integers

    @classmethod
    def of(cls, stream: Stream, scaling: StreamScaling) -> Coverage:
        """Look up the rows of a stream."""
        present = torch.nonzero(stream.begin < stream.end).flatten()
        owners = present if stream.schema.has_items else present[:1]
        owners = owners[torch.argsort(stream.begin[owners])]
        counts = stream.end[owners] - stream.begin[owners]
        items = torch.repeat_interleave(owners, counts)
        if stream.schema.is_static:
            starts = torch.zeros_like(items)
        elif stream.schema.clock is None:
            starts = stream.event_times[: len(items)]
        else:
            steps = torch.arange(len(items)) - stream.begin[items]
            starts = stream.schema.clock.advance(stream.first_time[items], steps)
        return cls(stream, scaling, items.numpy(), starts.numpy())

    @cached_property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Which cells hold a value, (row, column)."""
        firsts = [place.start for place in self.stream.schema.slices]
        return self.stream.observed[: len(self.items), firsts].numpy()

    @cached_property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which rows hold any value, (row,)."""
        return np.asarray(self.observed.any(axis=1))

    @cached_property
    def ends(self) -> Integers:
        """When the period of each row is over, (row,); an event is over at once."""
        clock = self.stream.schema.clock
        return (
            self.starts
            if clock is None
            else clock.advance(torch.from_numpy(self.starts), 1).numpy()
        )

    @cached_property
    def lateness(self) -> Integers:
        """How long after its period each row became known, of rows that say when."""
        if not self.stream.states_availability:
            return np.zeros(0, dtype=np.int64)
        stated = self.stream.available[: len(self.items)].numpy()
        return (stated - self.ends)[stated < NEVER]

    @property
    def typical_distance(self) -> int:
        """The median time from row to row of an item, in microseconds; 0 where there is none."""
        # Events may stand in the order in which they became known.
        order = np.lexsort((self.starts, self.items))
        items, starts = self.items[order], self.starts[order]
        distances = np.diff(starts)[items[1:] == items[:-1]]
        return int(np.median(distances)) if len(distances) else 0

    def values(self, column: int) -> npt.NDArray[np.float64]:
        """Return a column of one channel in its own units, (row,); NaN where missing."""
        schema = self.stream.schema
        cells = slice(len(self.items)), schema.slices[column].start
        values = self.stream.values[cells].numpy().astype(np.float64)
        unscaled = np.where(self.stream.observed[cells].numpy(), values, np.nan)
        number = self.scaling.numbers.get(schema.columns[column].name)
        return unscaled if number is None else unscaled * number.scale + number.mean

    def gaps(self) -> list[Gap]:
        """Return where the grid of an item holds no value; none for a stream without a clock."""
        if self.stream.schema.clock is None or not len(self.items):
            return []
        empty = ~self.present
        follows = np.append(False, empty[:-1] & (self.items[1:] == self.items[:-1]))
        goes_on = np.append(empty[1:] & (self.items[1:] == self.items[:-1]), False)
        first, last = np.flatnonzero(empty & ~follows), np.flatnonzero(empty & ~goes_on)
        return [
            Gap(int(self.items[a]), int(self.starts[a]), int(self.ends[b]), int(b - a + 1))
            for a, b in zip(first, last, strict=True)
        ]


def cover_streams(
    streams: dict[str, Stream], scaling: dict[str, StreamScaling]
) -> dict[str, Coverage]:
    """Look up the rows of all streams."""
    return {name: Coverage.of(stream, scaling[name]) for name, stream in streams.items()}
