"""Gathering batches: from window integers to tensors, without any work per sample."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from mmts.data.batch import Batch
from mmts.data.phased_windows import find_phases
from mmts.data.schema import DataSchema
from mmts.data.stream_windows import FreeWindows, StaticWindows, StreamWindows
from mmts.data.streams import Stream
from mmts.data.target_ahead import TargetAhead, look_ahead
from mmts.data.windows import Windows

_FOUND_AT_ONCE = 1 << 14
"""Windows that are found together, in whole batches; at least one batch."""

_COPIED_AT_ONCE = 1 << 19
"""Values that are copied together, in whole batches; at least one batch. To tell torch what to copy
takes as long as to copy a small batch; but what is beyond a processor's cache is slow."""

_COPIED_AT_ONCE_ON_GPU = 1 << 22
"""The same on a GPU, which is told more slowly than a processor, and copies from its memory."""


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

    def latest(self, share: float) -> WindowGatherer:
        """Return a gatherer of this share of the windows, those of the latest origins."""
        return WindowGatherer(self.schema, self.streams, self.windows.latest(share))

    def gather(self, chosen: Tensor) -> Batch:
        """Gather the windows at these places, (batch,) int64."""
        return next(self.batches(len(chosen), chosen))

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Yield windows in batches; the last one may be smaller.

        order: (window,) int32 or int64, places of the windows; by default all as they stand.
        """
        if order is None:
            order = torch.arange(len(self), device=self.windows.items.device)
        most = _COPIED_AT_ONCE_ON_GPU if order.is_cuda else _COPIED_AT_ONCE
        copied = _whole_batches(size, most // self._values_per_window)
        found = _whole_batches(copied, _FOUND_AT_ONCE)
        for begin in range(0, len(order), found):
            some = order[begin : begin + found].long()
            items = self.windows.items.index_select(0, some).long()
            origins = self.windows.origins.index_select(0, some)
            placed = [source.place(items, origins) for source in self._sources.values()]
            placed.append(self._target.place(items, origins))
            parts = [zip(*(torch.split(t, copied) for t in all_), strict=True) for all_ in placed]
            for *places, ahead in zip(*parts, strict=True):
                yield from self._gather(places, ahead).split(size)

    @cached_property
    def _sources(self) -> dict[str, StreamWindows]:
        """The windows of each stream."""
        return {name: self._find(stream) for name, stream in self.streams.items()}

    @cached_property
    def _values_per_window(self) -> int:
        schemas = self.schema.streams.values()
        return sum(schema.num_steps * schema.num_channels for schema in schemas)

    @cached_property
    def _target(self) -> TargetAhead:
        return look_ahead(self.streams[self.schema.target_stream], self.schema, self.windows)

    def _find(self, stream: Stream) -> StreamWindows:
        if stream.schema.is_static:
            return StaticWindows(stream)
        phased = find_phases(stream, self.schema, self.windows)
        return phased or FreeWindows(stream, self.schema.clock, self.schema.horizon)

    def _gather(self, places: list[tuple[Tensor, ...]], ahead: tuple[Tensor, ...]) -> Batch:
        step_edges, target, observed = self._target.gather(*ahead)
        streams = {
            name: source.gather(*place)
            for (name, source), place in zip(self._sources.items(), places, strict=True)
        }
        return Batch(streams, step_edges, target, observed)


def _whole_batches(size: int, most: int) -> int:
    """Return how many windows at most are as many batches as possible, and at least one."""
    return max(1, most // size) * size
