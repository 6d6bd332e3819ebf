"""Copying the rows of windows out of a whole series."""

from __future__ import annotations

import torch
from torch import Tensor

from mmts.data.streams import Stream


def take_rows(
    stream: Stream,
    items: Tensor,
    first: Tensor,
    num_rows: int,
    all_inside: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return values and what is observed of them, both (window, step, channel), in own memory.

    items: (window,) int64. first: (window,) int64, the row at which a window begins; rows that are
    not the item's own are not observed. all_inside: whether it is known that there are none.
    """
    if all_inside:
        return _slide(stream.values, first, num_rows), _slide(stream.observed, first, num_rows)
    # On a GPU single rows are as quick, and counting those outside would make it wait.
    if first.device.type != "cpu" or len(stream.values) < num_rows:
        return _pick(stream, items, first, num_rows)
    safe = first.clamp(0, len(stream.values) - num_rows)
    values, observed = take_rows(stream, items, safe, num_rows, all_inside=True)
    outside = (first < stream.begin[items]) | (first + num_rows > stream.end[items])
    few = torch.nonzero(outside).flatten()
    if len(few):
        values[few], observed[few] = _pick(stream, items[few], first[few], num_rows)
    return values, observed


def _slide(series: Tensor, first: Tensor, num_rows: int) -> Tensor:
    """Copy each window as one piece, which is several times quicker than row by row."""
    last, width = len(series) - num_rows, series.shape[1]
    # Overlapping views of one memory: no window is written out before it is chosen.
    windows = series.as_strided((last + 1, num_rows * width), (width, 1))
    return windows.index_select(0, first).view(len(first), num_rows, width)


def _pick(stream: Stream, items: Tensor, first: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    rows = first[:, None] + torch.arange(num_rows, device=first.device)
    inside = (rows >= stream.begin[items][:, None]) & (rows < stream.end[items][:, None])
    safe = torch.where(inside, rows, 0)
    observed = inside[..., None] & stream.observed[safe]
    return stream.values[safe].masked_fill(~observed, 0.0), observed
