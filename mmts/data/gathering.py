"""Gathering batches: from window integers to tensors, without any work per sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from mmts.data.batch import Batch, StreamWindow
from mmts.data.grid_rows import GridRows, find_grid_rows
from mmts.data.phased_windows import PhasedWindows, find_phases
from mmts.data.row_times import in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.schema import DataSchema
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
        edges = self._find_edges(origins)
        target, target_observed = self._gather_target(items, origins)
        return Batch(
            streams={
                name: self._gather_stream(name, items, origins, edges[:, -1:])
                for name in self.streams
            },
            step_edges=in_seconds(edges).expand(len(items), -1),
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
    def _phased(self) -> dict[str, PhasedWindows | None]:
        """What windows have in common, by stream."""
        return {
            name: find_phases(stream, self.schema, self.windows)
            for name, stream in self.streams.items()
        }

    @cached_property
    def _rows_ahead(self) -> GridRows | None:
        """Where the target lies that follows an origin, on a fixed clock."""
        stream = self.streams[self.schema.target_stream]
        rows = find_grid_rows(stream, 0, self.schema.horizon)
        if rows is None:
            return None
        return replace(rows, all_inside=rows.all_lie_inside(self.windows))

    def _find_edges(self, origins: Tensor) -> Tensor:
        """Return where steps begin and the last one ends, (window or 1, horizon + 1) int64."""
        if not self.schema.clock.is_calendar:
            # The same for all.
            origins = origins[:1]
        return self.schema.step_edges(origins) - origins[:, None]

    def _gather_stream(
        self, name: str, items: Tensor, origins: Tensor, horizon: Tensor
    ) -> StreamWindow:
        stream, phased = self.streams[name], self._phased[name]
        if stream.schema.is_static:
            return gather_static(stream, items, origins)
        if phased is not None:
            return phased.gather(items, origins)
        return gather_stream(stream, items, origins, horizon)

    def _gather_target(self, items: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        stream, rows = self.streams[self.schema.target_stream], self._rows_ahead
        channels = stream.schema.channels("target")
        around = slice(channels[0], channels[-1] + 1)
        if rows is not None:
            values, observed = rows.take(items, rows.place(items, origins)[0], around)
        else:
            elapsed = self.schema.clock.elapsed(stream.first_time[items], origins)
            first = stream.begin[items] + elapsed
            values, observed = take_rows(stream, items, first, self.schema.horizon, around)
        if len(channels) == values.shape[-1]:
            return values, observed
        inside = [channel - around.start for channel in channels]
        return values[..., inside], observed[..., inside]
