"""Windows as integers: for each origin, where every stream's window is anchored.

A window is (item, origin) and one anchor per stream: the row up to which the past reaches, and
from which the future goes on. Which of the rows around an anchor were really known is decided
when a batch is gathered, by time of availability.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    if schema.is_regular:
        elapsed = origins - stream.first_time[items]
        if schema.has_future:
            return begin + torch.div(elapsed, schema.period, rounding_mode="floor")
        latest = torch.div(elapsed - schema.lag, schema.period, rounding_mode="floor")
        return begin + latest + 1
    anchors = begin.clone()
    cutoff = origins if schema.has_future else origins - schema.lag
    for item in torch.unique(items).tolist():
        here = items == item
        times = stream.times[int(stream.begin[item]) : int(stream.end[item])]
        # An event at the origin belongs to the future; one that became known there is past.
        found = torch.searchsorted(times, cutoff[here], right=not schema.has_future)
        anchors[here] += found
    return anchors


def list_origins(target: Stream, schema: DataSchema, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """List every window whose horizon lies in [begin, end), as (items, origins).

    An origin needs a full context of the target stream behind it and at least one observed
    target value in its horizon. Times in microseconds.
    """
    assert target.schema.is_regular
    period = schema.frequency
    has_target = target.observed[:, target.schema.channels("target")].any(dim=1)
    count = torch.cat([torch.zeros(1, dtype=torch.int64), has_target.cumsum(0)])
    items, origins = [], []
    for item, (first_row, end_row) in enumerate(
        zip(target.begin.tolist(), target.end.tolist(), strict=True)
    ):
        first_origin = first_row + target.schema.context_steps
        # An item may be too short for any window.
        rows = torch.arange(first_origin, max(first_origin, end_row - schema.horizon + 1))
        times = target.first_time[item] + (rows - first_row) * period
        usable = (times >= begin) & (times + schema.horizon * period <= end)
        usable &= count[rows + schema.horizon] > count[rows]
        origins.append(times[usable])
        items.append(torch.full_like(times[usable], item))
    return torch.cat(items), torch.cat(origins)


def latest_origins(target: Stream, schema: DataSchema) -> tuple[Tensor, Tensor]:
    """Return, for every item present, the end of what is known of it, as (items, origins).

    This is the first place of the grid at which the last row that has a value, in any column
    that is not known ahead, has become available.
    """
    channels = target.schema.channels("target", "past")
    has_value = target.observed[:, channels].any(dim=1)
    items, origins = [], []
    for item, (first_row, end_row) in enumerate(
        zip(target.begin.tolist(), target.end.tolist(), strict=True)
    ):
        known = torch.nonzero(has_value[first_row:end_row]).flatten()
        if len(known):
            items.append(item)
            available = int(known[-1]) * schema.frequency + target.schema.lag
            steps = -(-available // schema.frequency)
            origins.append(int(target.first_time[item]) + steps * schema.frequency)
    return torch.tensor(items, dtype=torch.int64), torch.tensor(origins, dtype=torch.int64)
