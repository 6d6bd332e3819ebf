"""Gathering the windows of one stream, of whatever kind."""

from __future__ import annotations

import torch
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.row_times import find_times, in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.streams import Stream
from mmts.data.windows import find_anchors


def gather_static(stream: Stream, items: Tensor, origins: Tensor) -> StreamWindow:
    """Gather the one row of each item; items, origins: (window,) int64."""
    first = find_anchors(stream, items, origins) - 1
    values, observed = take_rows(stream, items, first, 1)
    ageless = torch.zeros(len(items), 1, device=items.device)
    always = torch.full_like(ageless, -torch.inf)
    return StreamWindow(values, observed, start=ageless, end=ageless, available=always)


def gather_stream(stream: Stream, items: Tensor, origins: Tensor, horizon: Tensor) -> StreamWindow:
    """Gather what was known at the origins of a stream that has times.

    items, origins: (window,) int64. horizon: (window, 1) int64 microseconds, the end of the last
    step relative to the origin.
    """
    schema = stream.schema
    first = find_anchors(stream, items, origins) - schema.context_steps
    values, observed = take_rows(stream, items, first, schema.num_steps)
    rows = first[:, None] + torch.arange(schema.num_steps, device=items.device)
    times = find_times(stream, items, origins, rows, horizon)
    observed = observed & times.known
    start, end = times.start, times.end
    if not schema.is_regular:
        observed = observed & (start >= -schema.context_span)[..., None]
        # Of an event that is not known, nobody knows that it is there, or when.
        inside = (rows >= stream.begin[items][:, None]) & (rows < stream.end[items][:, None])
        is_there = inside & times.known.any(dim=-1)
        start = end = torch.where(is_there, start, -schema.context_span)
    window = StreamWindow(
        values=values.masked_fill(~observed, 0.0),
        observed=observed,
        start=in_seconds(start),
        end=in_seconds(end),
        available=times.available,
    )
    if not schema.is_regular and schema.has_future and stream.states_availability:
        return _close_ranks(window, is_there, schema.context_steps)
    return window


def _close_ranks(window: StreamWindow, is_there: Tensor, context_steps: int) -> StreamWindow:
    """Move the places of events that are not known to both ends, so that the others meet.

    is_there: (window, step).
    """
    num_steps = is_there.shape[1]
    steps = torch.arange(num_steps, device=is_there.device)
    edge = torch.where(steps < context_steps, steps - num_steps, steps + num_steps)
    order = torch.where(is_there, steps, edge).argsort(dim=1)
    channels = order[..., None].expand_as(window.values)
    return StreamWindow(
        values=window.values.gather(1, channels),
        observed=window.observed.gather(1, channels),
        start=window.start.gather(1, order),
        end=window.end.gather(1, order),
        available=window.available.gather(1, order),
    )
