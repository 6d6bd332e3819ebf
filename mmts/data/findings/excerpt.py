"""A part of large streams that is enough to judge them by."""

from __future__ import annotations

import torch
from torch import Tensor

from mmts.data.streams import Stream

MAX_ROWS = 1_000_000
"""Rows of the target's stream above which only a part is looked at."""

_MAX_ITEMS = 50


def choose_excerpt(target: Stream) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return items, and from when to when to look at each; None where all of it may be read.

    Items are spread over the list, and of each the first rows are taken. items: (item,) int64;
    the moments: (item,) int64 microseconds.
    """
    lengths = target.end - target.begin
    if int(lengths.sum()) <= MAX_ROWS:
        return None
    present = torch.nonzero(lengths > 0).flatten()
    chosen = torch.linspace(0, len(present) - 1, min(_MAX_ITEMS, len(present))).round().long()
    items = present[torch.unique(chosen)]
    assert target.schema.clock is not None
    start = target.first_time[items]
    rows = torch.clamp(lengths[items], max=MAX_ROWS // len(items))
    return items, start, target.schema.clock.advance(start, rows)


def cut_excerpt(stream: Stream, excerpt: tuple[Tensor, Tensor, Tensor], margin: int) -> Stream:
    """Return the rows of a stream on a clock that lie in an excerpt; other items are absent.

    margin: rows that are kept before and after.
    """
    clock = stream.schema.clock
    assert clock is not None
    items, start, end = excerpt
    length = stream.end[items] - stream.begin[items]
    first_time = stream.first_time[items]
    zero = torch.zeros_like(length)
    low = torch.clamp(clock.elapsed(first_time, start) - margin, zero, length)
    high = torch.clamp(clock.elapsed(first_time, end) + margin, low, length)
    if not stream.schema.has_items:
        # All items read the same rows.
        low, high = low.min().expand(len(items)), high.max().expand(len(items))
    begin = stream.begin.new_zeros(len(stream.begin))
    stop, first = begin.clone(), begin.clone()
    pieces, num_rows = [], 0
    for place, item in enumerate(items.tolist()):
        if place == 0 or stream.schema.has_items:
            since = int(stream.begin[item])
            pieces.append(slice(since + int(low[place]), since + int(high[place])))
            num_rows += pieces[-1].stop - pieces[-1].start
        begin[item], stop[item] = num_rows - (pieces[-1].stop - pieces[-1].start), num_rows
        first[item] = clock.advance(first_time[place], low[place])
    available = stream.available
    if stream.states_availability:
        available = torch.cat([available[piece] for piece in pieces])
    return Stream(
        schema=stream.schema,
        values=torch.cat([stream.values[piece] for piece in pieces]),
        observed=torch.cat([stream.observed[piece] for piece in pieces]),
        begin=begin,
        end=stop,
        first_time=first,
        event_times=stream.event_times,
        available=available,
    )
