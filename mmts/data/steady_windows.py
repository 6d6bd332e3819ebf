"""Gathering windows that all look alike in time: then only values are copied.

As a rule every window of a stream on a clock begins equally long before its origin, and the same
of its rows are known: the times of one window are those of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.row_times import find_times, in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.windows import Windows, find_anchors

_CHUNK = 1 << 20
"""Windows that are looked at together."""


@dataclass(frozen=True)
class SteadyWindows:
    """Windows of one stream that have their times in common.

    start, end, available: (1, step) float32 seconds relative to the origin. hidden: (place,) int64
    into (step, channel), what is never known at the origin. all_inside: whether no window reaches
    beyond the rows of its item.
    """

    stream: Stream
    start: Tensor
    end: Tensor
    available: Tensor
    hidden: Tensor
    all_inside: bool

    def gather(self, items: Tensor, origins: Tensor) -> StreamWindow:
        """Gather what was known at the origins; items, origins: (window,) int64."""
        schema = self.stream.schema
        first = find_anchors(self.stream, items, origins) - schema.context_steps
        values, observed = take_rows(self.stream, items, first, schema.num_steps, self.all_inside)
        if len(self.hidden):
            values.flatten(1).index_fill_(1, self.hidden, 0.0)
            observed.flatten(1).index_fill_(1, self.hidden, False)
        start, end, available = (
            time.expand(len(items), -1) for time in (self.start, self.end, self.available)
        )
        return StreamWindow(values, observed, start, end, available)


def find_steady(stream: Stream, schema: DataSchema, windows: Windows) -> SteadyWindows | None:
    """Look through all windows; None where they differ in time, or may."""
    clock = stream.schema.clock
    if clock is None or clock.is_calendar or schema.clock.is_calendar:
        return None
    if stream.states_availability or not len(windows):
        return None
    num_rows = stream.schema.num_steps
    all_inside, leads = True, set()
    for begin in range(0, len(windows), _CHUNK):
        items = windows.items[begin : begin + _CHUNK].long()
        origins = windows.origins[begin : begin + _CHUNK]
        first = find_anchors(stream, items, origins) - stream.schema.context_steps
        inside = (first >= stream.begin[items]) & (first + num_rows <= stream.end[items])
        all_inside = all_inside and bool(inside.all())
        lead = clock.advance(stream.first_time[items], first - stream.begin[items]) - origins
        leads |= {int(lead.min()), int(lead.max())}
        if len(leads) > 1:
            return None
    items, origins = windows.items[:1].long(), windows.origins[:1]
    first = find_anchors(stream, items, origins) - stream.schema.context_steps
    rows = first[:, None] + torch.arange(num_rows, device=first.device)
    horizon = schema.step_edges(origins)[:, -1:] - origins[:, None]
    times = find_times(stream, items, origins, rows, horizon)
    known = times.known.expand(-1, -1, stream.schema.num_channels)
    return SteadyWindows(
        stream=stream,
        start=in_seconds(times.start),
        end=in_seconds(times.end),
        available=times.available,
        hidden=torch.nonzero(~known.flatten()).flatten(),
        all_inside=all_inside,
    )
