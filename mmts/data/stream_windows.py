"""The windows of one stream, of whatever kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.clock import Clock
from mmts.data.row_times import find_times, in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.streams import Stream
from mmts.data.windows import find_anchors


class StreamWindows(ABC):
    """Windows of one stream.

    Where they lie is found for many batches at once, and what they hold for one after the other:
    to find a few windows takes as long as to copy them.
    """

    @abstractmethod
    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, ...]:
        """Find windows; items, origins: (window,) int64. Returns tensors, one row a window."""

    @abstractmethod
    def gather(self, *places: Tensor) -> StreamWindow:
        """Gather what was known at the origins; places: what `place` returned, or rows of it."""


@dataclass(frozen=True)
class StaticWindows(StreamWindows):
    """The one row of each item."""

    stream: Stream

    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, ...]:
        """Find the row."""
        return items, find_anchors(self.stream, items, origins) - 1

    def gather(self, *places: Tensor) -> StreamWindow:
        """Gather it, always known and of no time."""
        items, first = places
        values, observed = take_rows(self.stream, items, first, num_rows=1)
        ageless = torch.zeros(observed.shape[:2], device=observed.device)
        always = torch.full_like(ageless, -torch.inf)
        return StreamWindow(values, observed, start=ageless, end=ageless, available=always)


@dataclass(frozen=True)
class FreeWindows(StreamWindows):
    """Windows of a stream that has times, of whatever kind: every row is looked up.

    clock: of the target. horizon: in steps of it.
    """

    stream: Stream
    clock: Clock
    horizon: int

    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, ...]:
        """Find the first row."""
        first = find_anchors(self.stream, items, origins) - self.stream.schema.context_steps
        return items, origins, first

    def gather(self, *places: Tensor) -> StreamWindow:
        """Gather rows, and hide what was not known."""
        items, origins, first = places
        stream, schema = self.stream, self.stream.schema
        values, observed = take_rows(stream, items, first, schema.num_steps)
        rows = first[:, None] + torch.arange(schema.num_steps, device=items.device)
        horizon = self.clock.advance(origins, self.horizon) - origins
        times = find_times(stream, items, origins, rows, horizon[:, None])
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
