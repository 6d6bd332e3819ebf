"""Windows as integers: items and origins, and where each stream's window is anchored.

A window is (item, origin) and one anchor per stream: the row up to which the past reaches, and
from which the future goes on. Which of the rows around an anchor were really known is decided
when a batch is gathered, by time of availability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmts.data.availability import NEVER
from mmts.data.scaling import BLOCK
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream


@dataclass(frozen=True)
class Windows:
    """A set of windows; there may be many millions, so that nothing more is kept of each.

    items: (window,) int32, places in the list of items.
    origins: (window,) int64 microseconds, the start of forecast step 1.
    """

    items: Tensor
    origins: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.items)

    def to(self, device: torch.device) -> Windows:
        """Return the windows on another device."""
        return Windows(self.items.to(device), self.origins.to(device))


def find_anchors(stream: Stream, items: Tensor, origins: Tensor) -> Tensor:
    """Return the anchor of each window in one stream, (window,) int64.

    It may lie outside of the item's rows, where nothing is observed. Past streams: the row after
    the last one known at the origin. Streams with future columns: the first row whose period
    reaches past the origin. On a grid this is arithmetic, so that a stream which ended early
    leaves its last places empty instead of sliding old rows forward.
    """
    schema = stream.schema
    begin, end = stream.begin[items], stream.end[items]
    if schema.is_static:
        return begin + 1
    if schema.clock is not None and (schema.has_future or not stream.states_availability):
        reached = origins if schema.has_future else origins - schema.delay
        return begin + schema.clock.elapsed(stream.first_time[items], reached)
    if stream.search is None:
        # Absent for all items.
        return begin
    if schema.has_future:
        # An event at the origin belongs to the future.
        return stream.search.row_after(begin, end, origins - 1)
    if not stream.states_availability:
        reached = origins - schema.delay
        if schema.days is not None:
            # The day that is not over yet.
            reached = schema.days.floor(reached) - 1
        return stream.search.row_after(begin, end, reached)
    known = stream.search.row_after(begin, end, origins)
    if schema.clock is None:
        return known
    # What was published early stays where it stands on the grid, and what is late leaves a gap.
    reached = origins - max(schema.delay, schema.lateness)
    due = begin + schema.clock.elapsed(stream.first_time[items], reached)
    return torch.maximum(known, due)


def list_origins(
    target: Stream, schema: DataSchema, begin: int, end: int, known_at: int | None = None
) -> Windows:
    """List every window whose horizon lies in [begin, end).

    An origin needs a full context of the target stream behind it and at least one observed
    target value in its horizon. known_at: when all values of the horizon must have become known,
    if that matters. Times in microseconds.
    """
    ranges = [_full_places(target, schema, item, begin, end) for item in range(len(target.begin))]
    # There may be very many: they are written where they stay.
    most = sum(max(0, last - first) for first, last in ranges)
    items = torch.empty(most, dtype=torch.int32)
    origins = torch.empty(most, dtype=torch.int64)
    count = 0
    for item, (first, last) in enumerate(ranges):
        for low in range(first, last, BLOCK):
            places = _usable_places(target, schema, item, low, min(low + BLOCK, last), known_at)
            here = slice(count, count + len(places))
            origins[here] = schema.clock.advance(target.first_time[item], places)
            items[here] = item
            count += len(places)
    return Windows(items[:count], origins[:count])


def _full_places(
    target: Stream, schema: DataSchema, item: int, begin: int, end: int
) -> tuple[int, int]:
    """Return the first origin of an item in [begin, end), and the one after the last, as rows.

    They have a full context and a full horizon; rows count from the item's first.
    """
    first_time, length = target.first_time[item], int(target.end[item] - target.begin[item])
    # The first place at or after `begin`, which may lie inside a day or month.
    first = max(target.schema.context_steps, int(schema.clock.elapsed(first_time, begin - 1)) + 1)
    last = min(length, int(schema.clock.elapsed(first_time, end))) - schema.horizon
    return first, last + 1


def _usable_places(
    target: Stream, schema: DataSchema, item: int, low: int, high: int, known_at: int | None
) -> Tensor:
    """Return which origins in rows [low, high) have a target value ahead, (window,) int64.

    known_at: when all of them must have been known, if that matters.
    """
    horizon, channels = schema.horizon, target.schema.channels("target")
    begin = int(target.begin[item])
    observed = target.observed[begin + low : begin + high + horizon - 1, channels]
    seen = _count_up(observed.any(dim=1))
    usable = seen[horizon:] > seen[:-horizon]
    if known_at is not None:
        known = _known_from(target, item, low, high + horizon - 1)
        late = _count_up((known > known_at) & (seen[1:] > seen[:-1]))
        usable &= late[horizon:] == late[:-horizon]
    return low + torch.nonzero(usable).flatten()


def _count_up(flags: Tensor) -> Tensor:
    """Return how many of the flags before each place are set, (flag + 1,)."""
    counts = flags.cumsum(0)
    return torch.cat([counts.new_zeros(1), counts])


class OriginCounts(NamedTuple):
    """Places of the grid whose horizon lies in a split and in the rows of an item.

    without_context: those with fewer rows behind them than a full context. without_target: those
    of the others that have no target value in their horizon, or one that was known too late.
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


def _known_from(stream: Stream, item: int, low: int, high: int) -> Tensor:
    """Return when past columns became known in rows of an item on a clock, (row,) int64.

    low, high: first of the rows, and the one after the last, counted from the item's first.
    """
    schema = stream.schema
    assert schema.clock is not None
    ends = torch.arange(low + 1, high + 1)
    over = schema.clock.advance(stream.first_time[item], ends) + schema.delay
    if not stream.states_availability:
        return over
    begin = int(stream.begin[item])
    stated = stream.available[begin + low : begin + high]
    # See `row_availability`.
    return torch.maximum(over, stated) if schema.has_future else stated


def latest_origins(target: Stream, schema: DataSchema) -> Windows:
    """Return, for every item present, the end of what is known of it.

    This is the first place of the grid at which the last row that has a value, in any column
    that is not known ahead, is over and has become available. Rows that never do are none.
    """
    channels = target.schema.channels("target", "past")
    items, origins = [], []
    for item in range(len(target.begin)):
        holds = target.observed[target.rows(item), channels].any(dim=1)
        if target.states_availability:
            stated = target.available[target.rows(item)]
            holds = holds & (stated < NEVER)
        known = torch.nonzero(holds).flatten()
        if len(known):
            items.append(item)
            last, first = int(known[-1]), target.first_time[item]
            # What was published early is no reason to forecast a period that is known.
            over = int(schema.clock.advance(first, last + 1))
            available = max(over, int(_known_from(target, item, last, last + 1)))
            steps = int(schema.clock.elapsed(first, available - 1)) + 1
            origins.append(int(schema.clock.advance(first, steps)))
    return Windows(torch.tensor(items, dtype=torch.int32), torch.tensor(origins, dtype=torch.int64))
