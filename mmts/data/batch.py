"""Gathering batches: from window integers to tensors, without any work per sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmts.data.schema import DataSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.windows import Windows

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

    target: (batch, horizon, target) float32, scaled; zero where not observed.
    target_observed: (batch, horizon, target) bool.
    """

    streams: dict[str, StreamWindow]
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
        items, origins = self.windows.items[chosen], self.windows.origins[chosen]
        target, target_observed = self._gather_target(items, origins)
        return Batch(
            streams={
                name: _gather_stream(
                    stream,
                    items,
                    origins,
                    self.windows.anchors[name][chosen],
                    horizon=self.schema.horizon * self.schema.frequency,
                )
                for name, stream in self.streams.items()
            },
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
        channels = stream.schema.channels("target")
        begin, end = stream.begin[items], stream.end[items]
        first = begin + (origins - stream.first_time[items]) // self.schema.frequency
        steps = torch.arange(self.schema.horizon, device=items.device)
        rows = first[:, None] + steps
        inside = (rows >= begin[:, None]) & (rows < end[:, None])
        rows = torch.where(inside, rows, 0)
        observed = stream.observed[rows][..., channels] & inside[..., None]
        return stream.values[rows][..., channels].masked_fill(~observed, 0.0), observed


def _gather_stream(
    stream: Stream, items: Tensor, origins: Tensor, anchors: Tensor, horizon: int
) -> StreamWindow:
    schema = stream.schema
    device = items.device
    begin, end = stream.begin[items], stream.end[items]
    steps = torch.arange(-schema.context_steps, schema.future_steps, device=device)
    rows = anchors[:, None] + steps
    inside = (rows >= begin[:, None]) & (rows < end[:, None])
    safe = torch.where(inside, rows, 0)
    observed = stream.observed[safe] & inside[..., None]
    if schema.is_static:
        ageless = torch.zeros(rows.shape, device=device)
        return StreamWindow(
            values=stream.values[safe].masked_fill(~observed, 0.0),
            observed=observed,
            start=ageless,
            end=ageless,
            available=torch.full_like(ageless, -torch.inf),
        )

    start = _relative_start(stream, items, origins, rows, safe, inside)
    known_past = start + schema.lag <= 0
    known, available = known_past[..., None], _seconds(start + schema.lag)
    if schema.has_future:
        future_available, known_future = _future_availability(schema, start, horizon)
        is_future = torch.zeros(len(schema.columns), dtype=torch.bool, device=device)
        is_future[schema.channels("future")] = True
        known = torch.where(is_future, known_future[..., None], known_past[..., None])
        holds_past = known_past & bool(schema.channels("target", "past"))
        available = torch.where(holds_past, available, future_available)
    observed = observed & known
    if not schema.is_regular:
        observed = observed & (start >= -schema.context_span)[..., None]
    return StreamWindow(
        values=stream.values[safe].masked_fill(~observed, 0.0),
        observed=observed,
        start=_seconds(start),
        end=_seconds(start + schema.cover),
        available=available,
    )


def _relative_start(
    stream: Stream, items: Tensor, origins: Tensor, rows: Tensor, safe: Tensor, inside: Tensor
) -> Tensor:
    """Return when each row begins, (batch, step) int64 microseconds relative to the origin."""
    schema = stream.schema
    if schema.is_regular:
        # Absent items have no first row; any start does, as none of their rows is observed.
        since_first = (rows - stream.begin[items][:, None]) * schema.period
        return stream.first_time[items][:, None] - origins[:, None] + since_first
    start = stream.times[safe] - origins[:, None]
    return torch.where(inside, start, -schema.context_span)


def _future_availability(
    schema: StreamSchema, start: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """Return when future columns became known, in seconds, and whether they count at the origin."""
    inside_horizon = start < horizon
    if schema.known_ahead is None:
        return torch.full(start.shape, -torch.inf, device=start.device), inside_horizon
    # Counted from the stamp, which may stand at the end of the period.
    stamp = start + (schema.cover if schema.stamp == "end" else 0)
    available = stamp - schema.known_ahead
    return _seconds(available), inside_horizon & (available <= 0)


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
