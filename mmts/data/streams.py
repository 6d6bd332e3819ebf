"""Streams as contiguous tensors: every item's rows behind one another, each on its own clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmts.data.availability import NEVER, row_starts, stated_availability
from mmts.data.cache.array_files import as_tensor, release
from mmts.data.row_search import RowSearch
from mmts.data.scaling import BLOCK, StreamScaling, column_encoder
from mmts.data.schema import StreamSchema
from mmts.data.table import Table, Words
from mmts.data.text.embedding import EmbeddingCache

Allocator = Callable[[str, tuple[int, ...], type], npt.NDArray[Any]]
"""Makes an array of a name, shape and type: in memory, or as a memory map."""


@dataclass(frozen=True)
class Stream:
    """One stream, scaled.

    values: (row, channel) float32, zero where not observed.
    observed: (row, channel) bool.
    begin, end: (item,) int64, the rows of each item; equal where the item is absent.
    first_time: (item,) int64 microseconds, the start of each item's first row; 0 where absent.
    event_times: (row,) int64 microseconds, of a stream without a clock; else empty. Events of the
        past that say when they became known stand in that order, others in that of their times.
    available: (row,) int64 microseconds, when each row became known, where a column of its own
        says so; else empty.
    search: finds the rows known at a moment, where no arithmetic does.
    """

    schema: StreamSchema
    values: Tensor
    observed: Tensor
    begin: Tensor
    end: Tensor
    first_time: Tensor
    event_times: Tensor
    available: Tensor
    search: RowSearch | None = None

    def to(self, device: torch.device) -> Stream:
        """Return the stream on another device."""
        return Stream(
            schema=self.schema,
            values=self.values.to(device),
            observed=self.observed.to(device),
            begin=self.begin.to(device),
            end=self.end.to(device),
            first_time=self.first_time.to(device),
            event_times=self.event_times.to(device),
            available=self.available.to(device),
            search=None if self.search is None else self.search.to(device),
        )

    @property
    def states_availability(self) -> bool:
        """Whether each row says when it became known."""
        return len(self.available) > 0

    def times(self, item: int) -> Tensor:
        """Return when each row of an item begins, (row,) int64 microseconds."""
        begin, end = int(self.begin[item]), int(self.end[item])
        if self.schema.clock is None:
            return self.event_times[begin:end]
        steps = torch.arange(end - begin, device=self.begin.device)
        return self.schema.clock.advance(self.first_time[item], steps)

    def rows(self, item: int) -> slice:
        """Return the rows of an item."""
        return slice(int(self.begin[item]), int(self.end[item]))

    def history(self, item: int) -> Tensor:
        """Return the values of an item as a series with gaps, (row, channel), NaN in each gap."""
        rows = self.rows(item)
        return self.values[rows].masked_fill(~self.observed[rows], torch.nan)

    def observed_share(self) -> float:
        """Return the share of values that are there."""
        observed = 0
        for begin in range(0, len(self.observed), BLOCK):
            observed += int(self.observed[begin : begin + BLOCK].sum())
        return observed / max(1, self.observed.numel())


def empty_stream(schema: StreamSchema, num_items: int) -> Stream:
    """Return a stream that is absent for every item."""
    nowhere = torch.zeros(num_items, dtype=torch.int64)
    # One unobserved row, so that a gather has something to index.
    return Stream(
        schema=schema,
        values=torch.zeros(1, schema.num_channels),
        observed=torch.zeros(1, schema.num_channels, dtype=torch.bool),
        begin=nowhere,
        end=nowhere,
        first_time=nowhere,
        event_times=torch.zeros(0 if schema.is_regular else 1, dtype=torch.int64),
        available=torch.zeros(0 if schema.available_at is None else 1, dtype=torch.int64),
    )


def in_memory(name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    """Make an array that no file stands behind."""
    return np.empty(shape, dtype=dtype)


def build_stream(
    table: Table,
    schema: StreamSchema,
    scaling: StreamScaling,
    items: tuple[str, ...],
    allocate: Allocator = in_memory,
    cache: EmbeddingCache | None = None,
) -> Stream:
    """Lay out one table; a regular stream gets an unobserved row wherever its grid has a gap.

    items: the items of the experiment, in order. Other items of the table are left out.
    allocate: makes the arrays that are as long as the stream. cache: of embeddings of texts.
    """
    table = table.select(items)
    starts = None if table.times is None else row_starts(table, schema)
    stated = stated_availability(table, schema)
    layout = _Layout(table, schema, items, starts, stated)
    if layout.num_rows == 0:
        return empty_stream(schema, len(items))

    shape = (layout.num_rows, schema.num_channels)
    values, observed = allocate("values", shape, np.float32), allocate("observed", shape, np.bool_)
    for begin in range(0, layout.num_rows, BLOCK):
        for array in (values, observed):
            array[begin : begin + BLOCK] = 0
            release(array)
    encoders = [column_encoder(table, column, scaling, cache) for column in schema.columns]
    for rows, places in layout.blocks():
        for encode, channels in zip(encoders, schema.slices, strict=True):
            encoded = encode(rows)
            is_there = ~np.isnan(encoded)
            values[places, channels] = np.where(is_there, encoded, 0.0)
            observed[places, channels] = is_there
        for used in (values, observed, *table.columns.values()):
            release(used.codes if isinstance(used, Words) else used)
    event_times = available = np.zeros(0, dtype=np.int64)
    if starts is not None and schema.clock is None:
        event_times = layout.spread("event_times", starts, 0, allocate)
    if stated is not None:
        available = layout.spread("available", stated, NEVER, allocate)
    stream = Stream(
        schema=schema,
        values=as_tensor(values),
        observed=as_tensor(observed),
        begin=as_tensor(layout.begin),
        end=as_tensor(layout.end),
        first_time=as_tensor(layout.first_time),
        event_times=as_tensor(event_times),
        available=as_tensor(available),
    )
    return replace(stream, search=prepare_search(stream))


def prepare_search(stream: Stream) -> RowSearch | None:
    """Prepare for streams whose known rows are not found by arithmetic on a clock."""
    if stream.states_availability and not stream.schema.has_future:
        in_order = not stream.schema.is_regular
        return RowSearch.over(stream.available, stream.begin, in_order)
    if stream.schema.clock is None and not stream.schema.is_static:
        return RowSearch.over(stream.event_times, stream.begin, in_order=True)
    return None


class _Layout:
    """Where each row of a table goes."""

    def __init__(
        self,
        table: Table,
        schema: StreamSchema,
        items: tuple[str, ...],
        starts: npt.NDArray[np.int64] | None,
        stated: npt.NDArray[np.int64] | None,
    ) -> None:
        self.begin, self.end, self.first_time = np.zeros((3, len(items)), dtype=np.int64)
        self.num_rows = 0
        self.pieces: list[tuple[slice, npt.NDArray[np.int64] | None, int]] = []
        places = {item: place for place, item in enumerate(items)}
        for run in table.iterate_runs():
            lengths, inside = run.lengths, None
            if starts is not None and schema.clock is not None:
                own = starts[run.rows]
                first = as_tensor(run.per_row(own[run.first]))
                inside = schema.clock.elapsed(first, as_tensor(own)).numpy()
                lengths = inside[run.last] + 1
                if np.array_equal(lengths, run.lengths):
                    inside = None
            elif stated is not None and not schema.has_future:
                # By when they became known, so that a row that was not takes no place from others.
                item = run.per_row(np.arange(len(lengths)))
                inside = np.empty(len(item), dtype=np.int64)
                inside[np.lexsort((stated[run.rows], item))] = np.arange(len(item))
                inside -= run.per_row(run.first)
            end = self.num_rows + np.cumsum(lengths)
            begin = end - lengths
            here: slice | list[int] = slice(None)
            if table.items is not None:
                here = [places[table.items[item]] for item in run.items]
            self.begin[here], self.end[here] = begin, end
            if starts is not None:
                self.first_time[here] = starts[run.rows][run.first]
            if inside is not None:
                inside += run.per_row(begin)
            self.pieces.append((run.rows, inside, self.num_rows))
            self.num_rows = int(end[-1])

    def blocks(self) -> list[tuple[slice, slice | npt.NDArray[np.int64]]]:
        """Return rows of the table and the places that they go to, a piece at a time."""
        found: list[tuple[slice, slice | npt.NDArray[np.int64]]] = []
        for rows, inside, first in self.pieces:
            for begin in range(rows.start, rows.stop, BLOCK):
                end = min(begin + BLOCK, rows.stop)
                since = slice(begin - rows.start, end - rows.start)
                places = slice(first + since.start, first + since.stop)
                found.append((slice(begin, end), places if inside is None else inside[since]))
        return found

    def spread(
        self, name: str, of_rows: npt.NDArray[np.int64], fill: int, allocate: Allocator
    ) -> npt.NDArray[np.int64]:
        """Lay out one number per row; places without a row get `fill`."""
        laid_out = allocate(name, (self.num_rows,), np.int64)
        laid_out.fill(fill)
        for rows, places in self.blocks():
            laid_out[places] = of_rows[rows]
        return laid_out
