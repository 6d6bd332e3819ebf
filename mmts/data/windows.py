"""Windows as integers: for each origin, where every stream's window is anchored.

A window is (item, origin) and one anchor per stream: the row up to which the past reaches, and
from which the future goes on. Which of the rows around an anchor were really known is decided
when a batch is gathered, by time of availability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmts.data.schema import DataSchema
from mmts.data.streams import Stream


@dataclass(frozen=True)
class Windows:
    """A set of windows.

    items: (window,) int64, places in the list of items.
    origins: (window,) int64 microseconds, the start of forecast step 1.
    anchors: per stream (window,) int64, a row of the stream; it may lie outside the item's rows,
        where nothing is observed.
    """

    items: Tensor
    origins: Tensor
    anchors: dict[str, Tensor]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.items)

    def to(self, device: torch.device) -> Windows:
        """Return the windows on another device."""
        return Windows(
            self.items.to(device),
            self.origins.to(device),
            {name: anchors.to(device) for name, anchors in self.anchors.items()},
        )


def build_windows(streams: dict[str, Stream], items: Tensor, origins: Tensor) -> Windows:
    """Anchor all streams at the given items and origins, both (window,) int64."""
    anchors = {name: find_anchors(stream, items, origins) for name, stream in streams.items()}
    return Windows(items, origins, anchors)


def find_anchors(stream: Stream, items: Tensor, origins: Tensor) -> Tensor:
    """Return the anchor of each window in one stream, (window,) int64.

    Past streams: the row after the last one known at the origin. Streams with future columns:
    the first row whose period reaches past the origin. On a grid this is arithmetic, so that a
    stream which ended early leaves its last places empty instead of sliding old rows forward.
    """
    schema = stream.schema
    begin = stream.begin[items]
    if schema.is_static:
        return begin + 1
    if schema.clock is not None and (schema.has_future or not stream.states_availability):
        reached = origins if schema.has_future else origins - schema.delay
        return begin + schema.clock.elapsed(stream.first_time[items], reached)
    if schema.has_future:
        # An event at the origin belongs to the future.
        return _count_rows(stream.event_times, stream, items, origins - 1)
    if not stream.states_availability:
        return _count_rows(stream.event_times, stream, items, origins - schema.delay)
    anchors = _last_known(stream, items, origins)
    if schema.clock is None:
        return anchors
    # What was published early stays where it stands on the grid, and what is late leaves a gap.
    due = begin + schema.clock.elapsed(stream.first_time[items], origins - schema.delay)
    return torch.maximum(anchors, due)


def _count_rows(times: Tensor, stream: Stream, items: Tensor, latest: Tensor) -> Tensor:
    """Return for each window the row after the last one whose time is not past `latest`.

    times: (row,) int64, ascending within each item. One search serves all items: rows are keyed
    by the place of their item and the rank of their time among all times.
    """
    moments = torch.unique(times)
    segments = torch.unique(stream.begin)
    segment = torch.searchsorted(
        segments, torch.arange(len(times), device=times.device), right=True
    )
    keys = segment * (len(moments) + 1) + torch.searchsorted(moments, times)
    ranks = torch.searchsorted(moments, latest.contiguous(), right=True)
    own = torch.searchsorted(segments, stream.begin[items].contiguous(), right=True)
    found = torch.searchsorted(keys, own * (len(moments) + 1) + ranks)
    begin, end = stream.begin[items], stream.end[items]
    return torch.clamp(found, begin, end)


def _last_known(stream: Stream, items: Tensor, origins: Tensor) -> Tensor:
    """Return the row after the latest one that was known, where each row says when it was.

    Rows may become known in any order. They are sorted by that moment within their item; how many
    of them were known is then one search, and the latest of these a running maximum.
    """
    rows = torch.arange(len(stream.available), device=stream.available.device)
    segments = torch.unique(stream.begin)
    segment = torch.searchsorted(segments, rows, right=True)
    by_time = torch.argsort(stream.available, stable=True)
    order = by_time[torch.argsort(segment[by_time], stable=True)]
    known = _count_rows(stream.available[order], stream, items, origins)
    begin = stream.begin[items]
    latest = torch.cummax(order, dim=0).values
    return torch.where(known > begin, latest[(known - 1).clamp(min=0)] + 1, begin)


def list_origins(target: Stream, schema: DataSchema, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """List every window whose horizon lies in [begin, end), as (items, origins).

    An origin needs a full context of the target stream behind it and at least one observed
    target value in its horizon. Times in microseconds.
    """
    context, horizon = target.schema.context_steps, schema.horizon
    channels = target.schema.channels("target")
    items, origins = [], []
    for item in range(len(target.begin)):
        has_target = target.observed(item, channels).any(dim=1)
        count = torch.cat([torch.zeros(1, dtype=torch.int64), has_target.cumsum(0)])
        # An item may be too short for any window.
        rows = torch.arange(context, max(context, len(has_target) - horizon + 1))
        times = schema.clock.advance(target.first_time[item], rows)
        ends = schema.clock.advance(target.first_time[item], rows + horizon)
        usable = (times >= begin) & (ends <= end)
        usable &= count[rows + horizon] > count[rows]
        origins.append(times[usable])
        items.append(torch.full_like(times[usable], item))
    return torch.cat(items), torch.cat(origins)


class OriginCounts(NamedTuple):
    """Places of the grid whose horizon lies in a split and in the rows of an item.

    without_context: those with fewer rows behind them than a full context. without_target: those
    of the others that have no target value in their horizon.
    """

    total: int
    without_context: int
    without_target: int

    @property
    def num_windows(self) -> int:
        """How many of them have a window."""
        return self.total - self.without_context - self.without_target


def count_origins(
    target: Stream, schema: DataSchema, begin: int, end: int, num_windows: int
) -> OriginCounts:
    """Count the origins whose horizon lies in [begin, end), and those that have no window.

    num_windows: as many as `list_origins` has found there.
    """
    total = early = 0
    for item in range(len(target.begin)):
        length = int(target.end[item] - target.begin[item])
        rows = torch.arange(max(0, length - schema.horizon + 1))
        starts = schema.clock.advance(target.first_time[item], rows)
        ends = schema.clock.advance(target.first_time[item], rows + schema.horizon)
        inside = (starts >= begin) & (ends <= end)
        total += int(inside.sum())
        early += int(inside[: target.schema.context_steps].sum())
    return OriginCounts(total, early, total - early - num_windows)


def latest_origins(target: Stream, schema: DataSchema) -> tuple[Tensor, Tensor]:
    """Return, for every item present, the end of what is known of it, as (items, origins).

    This is the first place of the grid at which the last row that has a value, in any column
    that is not known ahead, has become available.
    """
    channels = target.schema.channels("target", "past")
    items, origins = [], []
    for item in range(len(target.begin)):
        known = torch.nonzero(target.observed(item, channels).any(dim=1)).flatten()
        if len(known):
            items.append(item)
            last, first = int(known[-1]), target.first_time[item]
            if target.states_availability:
                available = int(target.available[int(target.begin[item]) + last])
            else:
                available = int(schema.clock.advance(first, last + 1)) + target.schema.delay
            steps = int(schema.clock.elapsed(first, available - 1)) + 1
            origins.append(int(schema.clock.advance(first, steps)))
    return torch.tensor(items, dtype=torch.int64), torch.tensor(origins, dtype=torch.int64)
