"""Gathering batches: from window integers to tensors, without any work per sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mmts.data.availability import NEVER
from mmts.data.schema import DataSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.windows import Windows, find_anchors

_SECOND = 1_000_000


@dataclass(frozen=True)
class StreamWindow:
    """What was known of one stream at the origins of a batch.

    values: (batch, step, channel) float32, scaled; zero where not observed.
    observed: (batch, step, channel) bool; False too where a value was not yet known.
    start, end: (batch, step) float32 seconds relative to the origin, the period of each row.
    available: (batch, step) float32 seconds relative to the origin, when a row became known;
        -inf where it always was.
    """

    values: Tensor
    observed: Tensor
    start: Tensor
    end: Tensor
    available: Tensor


@dataclass(frozen=True)
class Batch:
    """Windows of all streams, and what came after the origins.

    step_edges: (batch, horizon + 1) float32 seconds relative to the origin, where forecast steps
        begin and the last one ends.
    target: (batch, horizon, target) float32, scaled; zero where not observed.
    target_observed: (batch, horizon, target) bool.
    """

    streams: dict[str, StreamWindow]
    step_edges: Tensor
    target: Tensor
    target_observed: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.target)


class WindowGatherer:
    """Gathers batches of windows from streams that lie on one device."""

    def __init__(self, schema: DataSchema, streams: dict[str, Stream], windows: Windows) -> None:
        self.schema = schema
        self.streams = streams
        self.windows = windows

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.windows)

    def to(self, device: torch.device) -> WindowGatherer:
        """Return a gatherer whose streams and windows lie on another device."""
        streams = {name: stream.to(device) for name, stream in self.streams.items()}
        return WindowGatherer(self.schema, streams, self.windows.to(device))

    def gather(self, chosen: Tensor) -> Batch:
        """Gather the windows at these places, (batch,) int64."""
        items, origins = self.windows.items[chosen].long(), self.windows.origins[chosen]
        edges = self.schema.step_edges(origins) - origins[:, None]
        target, target_observed = self._gather_target(items, origins)
        return Batch(
            streams={
                name: _gather_stream(stream, items, origins, edges[:, -1:])
                for name, stream in self.streams.items()
            },
            step_edges=_seconds(edges),
            target=target,
            target_observed=target_observed,
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all windows in order."""
        device = self.windows.items.device
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            yield self.gather(torch.arange(first, last, device=device))

    def _gather_target(self, items: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        stream = self.streams[self.schema.target_stream]
        begin, end = stream.begin[items], stream.end[items]
        first = begin + self.schema.clock.elapsed(stream.first_time[items], origins)
        steps = torch.arange(self.schema.horizon, device=items.device)
        rows = first[:, None] + steps
        inside = (rows >= begin[:, None]) & (rows < end[:, None])
        found = stream.values[torch.where(inside, rows, 0)][..., stream.schema.channels("target")]
        observed = inside[..., None] & ~torch.isnan(found)
        return found.masked_fill(~observed, 0.0), observed


def _gather_stream(stream: Stream, items: Tensor, origins: Tensor, horizon: Tensor) -> StreamWindow:
    """Gather one stream; horizon: (batch, 1) int64 microseconds, the end of the last step."""
    schema = stream.schema
    device = items.device
    begin, end = stream.begin[items], stream.end[items]
    steps = torch.arange(-schema.context_steps, schema.future_steps, device=device)
    rows = find_anchors(stream, items, origins)[:, None] + steps
    inside = (rows >= begin[:, None]) & (rows < end[:, None])
    safe = torch.where(inside, rows, 0)
    found = stream.values[safe]
    observed = inside[..., None] & ~torch.isnan(found)
    if schema.is_static:
        ageless = torch.zeros(rows.shape, device=device)
        return StreamWindow(
            values=found.masked_fill(~observed, 0.0),
            observed=observed,
            start=ageless,
            end=ageless,
            available=torch.full_like(ageless, -torch.inf),
        )

    span = _Span.of(stream, items, origins, rows, safe, inside)
    known_past = span.available <= 0
    known, available = known_past[..., None], _seconds(span.available)
    if schema.has_future:
        future_available = _future_availability(schema, span, origins[:, None])
        known_future = span.start < horizon
        if future_available is None:
            in_seconds = torch.full_like(available, -torch.inf)
        else:
            in_seconds = _seconds(future_available)
            known_future = known_future & (future_available <= 0)
        is_future = torch.zeros(schema.num_channels, dtype=torch.bool, device=device)
        is_future[schema.channels("future")] = True
        known = torch.where(is_future, known_future[..., None], known_past[..., None])
        holds_past = known_past & bool(schema.channels("target", "past"))
        available = torch.where(holds_past, available, in_seconds)
    observed = observed & known
    start, end = span.start, span.end
    if not schema.is_regular:
        observed = observed & (start >= -schema.context_span)[..., None]
        # Of an event that is not known, nobody knows that it is there, or when.
        is_there = inside & known.any(dim=-1)
        start = end = torch.where(is_there, start, -schema.context_span)
    window = StreamWindow(
        values=found.masked_fill(~observed, 0.0),
        observed=observed,
        start=_seconds(start),
        end=_seconds(end),
        available=available,
    )
    if not schema.is_regular and schema.has_future and stream.states_availability:
        return _close_ranks(window, is_there, schema.context_steps)
    return window


def _close_ranks(window: StreamWindow, is_there: Tensor, context_steps: int) -> StreamWindow:
    """Move the places of events that are not known to both ends, so that the others meet.

    is_there: (batch, step).
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


class _Span(NamedTuple):
    """When rows begin, end, and became known, (batch, step) int64 relative to the origin.

    available: of past columns. stated: what the rows themselves say, where they do.
    """

    start: Tensor
    end: Tensor
    available: Tensor
    stated: Tensor | None

    @classmethod
    def of(
        cls,
        stream: Stream,
        items: Tensor,
        origins: Tensor,
        rows: Tensor,
        safe: Tensor,
        inside: Tensor,
    ) -> _Span:
        """Look up the rows of a stream that has times."""
        schema, since = stream.schema, origins[:, None]
        if schema.clock is not None:
            # Absent items have no first row; any start does, as none of their rows is observed.
            first = stream.first_time[items][:, None]
            step = rows - stream.begin[items][:, None]
            start = schema.clock.advance(first, step) - since
            end = schema.clock.advance(first, step + 1) - since
        else:
            times = stream.event_times[safe]
            start = torch.where(inside, times - since, -schema.context_span)
            end = start
        over = end
        if schema.days is not None:
            over = schema.days.advance(times, 1) - since
        stated, over = None, over + schema.delay
        if stream.states_availability:
            stated = torch.where(inside, stream.available[safe] - since, NEVER)
            # See `row_availability`: beside future columns those of the past are known no sooner
            # than their period is over.
            over = torch.maximum(over, stated) if schema.has_future else stated
        return cls(start, end, over, stated)


def _future_availability(schema: StreamSchema, span: _Span, since: Tensor) -> Tensor | None:
    """Return when future columns became known, (batch, step) int64; None where always."""
    if span.stated is not None:
        return span.stated
    if schema.known_ahead is None:
        return None
    # Counted from the stamp, which may stand at the end of the period.
    return schema.stamps(span.start + since) - since - schema.known_ahead


def _seconds(microseconds: Tensor) -> Tensor:
    # The origin was subtracted as an integer: float32 seconds since 1970 resolve only to 128 s.
    return microseconds.to(torch.float64).div(_SECOND).to(torch.float32)


def without_stream(batch: Batch, name: str) -> Batch:
    """Return the batch as it would be had one stream been absent."""
    window = batch.streams[name]
    absent = replace(
        window,
        values=torch.zeros_like(window.values),
        observed=torch.zeros_like(window.observed),
    )
    return replace(batch, streams={**batch.streams, name: absent})
