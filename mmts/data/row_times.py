"""When the rows of windows begin, end and become known, seen from their origins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmts.data.availability import NEVER
from mmts.data.channels import put_channels
from mmts.data.schema import StreamSchema
from mmts.data.streams import Stream

_SECOND = 1_000_000


class RowTimes(NamedTuple):
    """Times of rows relative to their origins.

    start, end: (window, step) int64 microseconds. available: (window, step) float32 seconds, -inf
    where a row always was. known: (window, step, channel or 1) bool, whether a value in that place
    is known at the origin.
    """

    start: Tensor
    end: Tensor
    available: Tensor
    known: Tensor


def find_times(
    stream: Stream, items: Tensor, origins: Tensor, rows: Tensor, horizon: Tensor
) -> RowTimes:
    """Look up rows of a stream that has times.

    items, origins: (window,) int64. rows: (window, step) int64; those that are not the item's own
    have the times that its clock would give them. horizon: (window, 1) int64 microseconds, the end
    of the last step relative to the origin.
    """
    schema = stream.schema
    inside = (rows >= stream.begin[items][:, None]) & (rows < stream.end[items][:, None])
    span = _Span.of(stream, items, origins, rows, inside)
    known_past = span.available <= 0
    known, available = known_past[..., None], in_seconds(span.available)
    if schema.has_future:
        future_available = _future_availability(schema, span, origins[:, None])
        known_future = span.start < horizon
        if future_available is None:
            ahead = torch.full_like(available, -torch.inf)
        else:
            ahead = in_seconds(future_available)
            known_future = known_future & (future_available <= 0)
        is_future = torch.zeros(schema.num_channels, dtype=torch.bool, device=rows.device)
        put_channels(is_future, schema.channels("future"), True)
        known = torch.where(is_future, known_future[..., None], known_past[..., None])
        holds_past = known_past & bool(schema.channels("target", "past"))
        available = torch.where(holds_past, available, ahead)
    return RowTimes(span.start, span.end, available, known)


def in_seconds(microseconds: Tensor) -> Tensor:
    """Return float32 seconds of int64 microseconds."""
    # The origin was subtracted as an integer: float32 seconds since 1970 resolve only to 128 s.
    return microseconds.to(torch.float64).div(_SECOND).to(torch.float32)


class _Span(NamedTuple):
    """When rows begin, end, and became known, (window, step) int64 relative to the origin.

    available: of past columns. stated: what the rows themselves say, where they do.
    """

    start: Tensor
    end: Tensor
    available: Tensor
    stated: Tensor | None

    @classmethod
    def of(
        cls, stream: Stream, items: Tensor, origins: Tensor, rows: Tensor, inside: Tensor
    ) -> _Span:
        schema, since = stream.schema, origins[:, None]
        safe = torch.where(inside, rows, 0)
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
    """Return when future columns became known, (window, step) int64; None where always."""
    if span.stated is not None:
        return span.stated
    if schema.known_ahead is None:
        return None
    # Counted from the stamp, which may stand at the end of the period.
    return schema.stamps(span.start + since) - since - schema.known_ahead
