"""Streams as contiguous tensors: every item's rows behind one another, each on its own clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmts.data.clocks import row_starts
from mmts.data.scaling import StreamScaling, encode_columns
from mmts.data.schema import StreamSchema
from mmts.data.tables import Table, iterate_items


@dataclass(frozen=True)
class Stream:
    """One stream, scaled.

    values: (row, channel) float32, zero where not observed.
    observed: (row, channel) bool.
    times: (row,) int64 microseconds, the start of each row's period.
    begin, end: (item,) int64, the rows of each item; equal where the item is absent.
    first_time: (item,) int64, the start of each item's first row; 0 where absent.
    """

    schema: StreamSchema
    values: Tensor
    observed: Tensor
    times: Tensor
    begin: Tensor
    end: Tensor
    first_time: Tensor

    def to(self, device: torch.device) -> Stream:
        """Return the stream on another device."""
        return replace(
            self,
            **{
                name: getattr(self, name).to(device)
                for name in ("values", "observed", "times", "begin", "end", "first_time")
            },
        )


def empty_stream(schema: StreamSchema, num_items: int) -> Stream:
    """Return a stream that is absent for every item."""
    nowhere = torch.zeros(num_items, dtype=torch.int64)
    # One unobserved row, so that a gather has something to index.
    return Stream(
        schema=schema,
        values=torch.zeros(1, len(schema.columns)),
        observed=torch.zeros(1, len(schema.columns), dtype=torch.bool),
        times=torch.zeros(1, dtype=torch.int64),
        begin=nowhere,
        end=nowhere,
        first_time=nowhere,
    )


def build_stream(
    table: Table, schema: StreamSchema, scaling: StreamScaling, items: tuple[str, ...]
) -> Stream:
    """Lay out one table; a regular stream gets an unobserved row wherever its grid has a gap.

    items: the items of the experiment, in order. Other items of the table are left out.
    """
    values, observed = encode_columns(table, schema, scaling)
    starts = np.zeros(len(table), dtype=np.int64)
    if table.times is not None:
        starts = row_starts(table, schema)

    begin = np.zeros(len(items), dtype=np.int64)
    end = np.zeros(len(items), dtype=np.int64)
    first_time = np.zeros(len(items), dtype=np.int64)
    pieces: list[_Piece] = []
    num_rows = 0
    places = {item: place for place, item in enumerate(items)}
    for item, rows in iterate_items(table):
        if item is not None and item not in places:
            continue
        piece = _Piece(values[rows], observed[rows], starts[rows])
        if schema.is_regular:
            piece = piece.on_grid(schema.period)
        here: int | slice = slice(None) if item is None else places[item]
        begin[here], end[here] = num_rows, num_rows + len(piece.times)
        first_time[here] = piece.times[0]
        num_rows += len(piece.times)
        pieces.append(piece)
    if not pieces:
        return empty_stream(schema, len(items))
    return Stream(
        schema=schema,
        values=torch.from_numpy(np.concatenate([piece.values for piece in pieces])),
        observed=torch.from_numpy(np.concatenate([piece.observed for piece in pieces])),
        times=torch.from_numpy(np.concatenate([piece.times for piece in pieces])),
        begin=torch.from_numpy(begin),
        end=torch.from_numpy(end),
        first_time=torch.from_numpy(first_time),
    )


@dataclass(frozen=True)
class _Piece:
    """The rows of one item."""

    values: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int64]

    def on_grid(self, period: int) -> _Piece:
        """Insert an unobserved row at every place of the grid that has none."""
        places = (self.times - self.times[0]) // period
        num_rows = int(places[-1]) + 1
        if num_rows == len(places):
            return self
        values = np.zeros((num_rows, self.values.shape[1]), dtype=np.float32)
        observed = np.zeros(values.shape, dtype=bool)
        values[places], observed[places] = self.values, self.observed
        return _Piece(values, observed, self.times[0] + np.arange(num_rows) * period)
