"""Gathering batches: from window integers to tensors, without any work per sample."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from mmts.data.batch import Batch, StreamWindow
from mmts.data.row_times import in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.schema import DataSchema
from mmts.data.steady_windows import SteadyWindows, find_steady
from mmts.data.stream_windows import gather_static, gather_stream
from mmts.data.streams import Stream
from mmts.data.windows import Windows


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
                name: self._gather_stream(name, items, origins, edges[:, -1:])
                for name in self.streams
            },
            step_edges=in_seconds(edges),
            target=target,
            target_observed=target_observed,
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all windows in order."""
        device = self.windows.items.device
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            yield self.gather(torch.arange(first, last, device=device))

    @cached_property
    def _steady(self) -> dict[str, SteadyWindows | None]:
        """What is common to all windows, by stream."""
        return {
            name: find_steady(stream, self.schema, self.windows)
            for name, stream in self.streams.items()
        }

    def _gather_stream(
        self, name: str, items: Tensor, origins: Tensor, horizon: Tensor
    ) -> StreamWindow:
        stream, steady = self.streams[name], self._steady[name]
        if stream.schema.is_static:
            return gather_static(stream, items, origins)
        if steady is not None:
            return steady.gather(items, origins)
        return gather_stream(stream, items, origins, horizon)

    def _gather_target(self, items: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        stream = self.streams[self.schema.target_stream]
        elapsed = self.schema.clock.elapsed(stream.first_time[items], origins)
        first = stream.begin[items] + elapsed
        values, observed = take_rows(stream, items, first, self.schema.horizon)
        channels = stream.schema.channels("target")
        return values[..., channels], observed[..., channels]
