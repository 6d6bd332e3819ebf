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
from mmts.data.config import Role
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

    def latest(self, share: float) -> Windows:
        """Return this share of the windows, those of the latest origins; in the order they have.

        All windows of an origin stay together, so that there may be a few more.
        """
        if share == 1 or not len(self):
            return self
        place = len(self) - max(1, round(len(self) * share))
        kept = self.origins >= self.origins.sort().values[place]
        return Windows(self.items[kept], self.origins[kept])


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
    inside = _places_inside(target, schema, begin, end)
    full = _Places(inside.first.clamp(min=target.schema.context_steps), inside.last)
    ahead = schema.horizon - 1
    # The rows in the horizons of an item's origins; those of all items behind one another.
    lengths = torch.where(full.counts > 0, full.counts + ahead, 0)
    ends = lengths.cumsum(0)
    shift = full.first - (ends - lengths)
    # There may be very many: they are written where they stay.
    most, num_rows = int(full.counts.sum()), int(lengths.sum())
    items = torch.empty(most, dtype=torch.int32)
    origins = torch.empty(most, dtype=torch.int64)
    count = 0
    for low in range(0, num_rows - ahead, BLOCK):
        rows = torch.arange(low, min(low + BLOCK + ahead, num_rows))
        item = torch.searchsorted(ends, rows, right=True)
        place = rows + shift[item]
        usable = _usable(target, schema, item, place, known_at)
        usable &= (place < full.last[item])[: len(usable)]
        found = torch.nonzero(usable).flatten()
        here = slice(count, count + len(found))
        items[here] = item[found]
        origins[here] = schema.clock.advance(target.first_time[item[found]], place[found])
        count += len(found)
    return Windows(items[:count], origins[:count])


class _Places(NamedTuple):
    """Origins of each item: the first, and the one after the last, counted from its first row."""

    first: Tensor
    last: Tensor

    @property
    def counts(self) -> Tensor:
        """How many there are, (item,)."""
        return (self.last - self.first).clamp(min=0)


def _places_inside(target: Stream, schema: DataSchema, begin: int, end: int) -> _Places:
    """Return the origins of each item whose horizon lies in [begin, end) and in its rows."""
    # The first place at or after `begin`, which may lie inside a day or month.
    first = schema.clock.elapsed(target.first_time, begin - 1) + 1
    elapsed = schema.clock.elapsed(target.first_time, end)
    last = torch.minimum(target.end - target.begin, elapsed) - schema.horizon + 1
    return _Places(first.clamp(min=0), last)


def _usable(
    target: Stream, schema: DataSchema, items: Tensor, places: Tensor, known_at: int | None
) -> Tensor:
    """Return which rows have a target value in the horizon that begins with them.

    items, places: (row,), rows behind one another, each counted from its item's first.
    known_at: when all values must have been known, if that matters.
    Returns (row,) bool, without the last rows that no full horizon follows.
    """
    horizon = schema.horizon
    holds = _holds_any(target, target.begin[items] + places, "target")
    seen = _count_up(holds)
    usable = seen[horizon:] > seen[:-horizon]
    if known_at is not None:
        late = _count_up((_known_from(target, items, places) > known_at) & holds)
        usable &= late[horizon:] == late[:-horizon]
    return usable


def _holds_any(stream: Stream, rows: Tensor, *roles: Role) -> Tensor:
    """Return whether rows hold a value in any column of these roles; rows may have any shape."""
    channels = stream.schema.channels(*roles)
    found = stream.observed[rows, channels[0]]
    for channel in channels[1:]:
        found |= stream.observed[rows, channel]
    return found


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
    inside = _places_inside(target, schema, begin, end)
    early = _Places(inside.first, inside.last.clamp(max=target.schema.context_steps))
    total, without_context = int(inside.counts.sum()), int(early.counts.sum())
    return OriginCounts(total, without_context, total - without_context - num_windows)


def _known_from(stream: Stream, items: Tensor, places: Tensor) -> Tensor:
    """Return when past columns became known in rows of items on a clock, (row,) int64.

    items, places: (row,), each row counted from its item's first.
    """
    schema = stream.schema
    assert schema.clock is not None
    over = schema.clock.advance(stream.first_time[items], places + 1) + schema.delay
    if not stream.states_availability:
        return over
    stated = stream.available[stream.begin[items] + places]
    # See `row_availability`.
    return torch.maximum(over, stated) if schema.has_future else stated


def latest_origins(target: Stream, schema: DataSchema) -> Windows:
    """Return, for every item present, the end of what is known of it.

    This is the first place of the grid at which the last row that has a value, in any column
    that is not known ahead, is over and has become available. Rows that never do are none.
    """
    row = _last_rows(target)
    items = torch.nonzero(row >= target.begin).flatten()
    last, first = (row - target.begin)[items], target.first_time[items]
    # What was published early is no reason to forecast a period that is known.
    over = schema.clock.advance(first, last + 1)
    available = torch.maximum(over, _known_from(target, items, last))
    steps = schema.clock.elapsed(first, available - 1) + 1
    return Windows(items.to(torch.int32), schema.clock.advance(first, steps))


def _last_rows(target: Stream) -> Tensor:
    """Return the last row of each item that tells of its past, (item,) int64.

    That is the row before the item's first where there is none.
    """
    found = target.begin - 1
    left = torch.nonzero(target.begin < target.end).flatten()
    # Looked for from the end, as it rarely lies far from there; not too many rows at once.
    reached, width = target.end.clone(), 1
    while len(left):
        rows = reached[left, None] - torch.arange(1, width + 1)
        inside = rows >= target.begin[left, None]
        rows = rows.clamp(min=0)
        holds = inside & _holds_any(target, rows, "target", "past")
        if target.states_availability:
            holds &= target.available[rows] < NEVER
        nearest = holds.int().argmax(dim=1)
        hit = holds.any(dim=1)
        found[left[hit]] = rows[hit, nearest[hit]]
        reached[left] -= width
        left = left[~hit & (reached[left] > target.begin[left])]
        width = max(1, min(4 * width, BLOCK // max(1, len(left))))
    return found
