"""What a forecast is to be held against: the target over the horizon."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mmts.data.channels import take_channels
from mmts.data.grid_rows import GridRows, find_grid_rows
from mmts.data.row_times import in_seconds
from mmts.data.row_windows import take_rows
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.windows import Windows

_MOST_COPIED = 1 << 24
"""Values of the target of which a copy is kept, apart from other columns: it is read quicker."""


@dataclass(frozen=True)
class TargetAhead:
    """Gathers the target that follows each origin.

    stream: of the target, whose other channels may have been left out. channels: of the target.
    rows: where the clock is a fixed one. edges: (1, horizon + 1) float32, likewise.
    """

    stream: Stream
    schema: DataSchema
    channels: list[int]
    rows: GridRows | None
    edges: Tensor | None

    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, ...]:
        """Find the rows that begin at the origins; items, origins: (window,) int64."""
        if self.rows is not None:
            return items, origins, self.rows.place(items, origins)[0]
        elapsed = self.schema.clock.elapsed(self.stream.first_time[items], origins)
        return items, origins, self.stream.begin[items] + elapsed

    def gather(self, *places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where steps begin and the last one ends, the target, and what is observed of it.

        In seconds relative to the origin, (window, horizon + 1) float32; and both (window,
        horizon, target). places: what `place` returned, or rows of it.
        """
        items, origins, first = places
        if self.rows is not None:
            values, observed = self.rows.take(items, first)
        else:
            values, observed = take_rows(self.stream, items, first, self.schema.horizon)
        if values.shape[-1] > len(self.channels):
            values = take_channels(values, self.channels)
            observed = take_channels(observed, self.channels)
        if self.edges is not None:
            return self.edges.expand(len(items), -1), values, observed
        return _find_edges(self.schema, origins), values, observed


def look_ahead(stream: Stream, schema: DataSchema, windows: Windows) -> TargetAhead:
    """Prepare for windows; stream: of the target."""
    channels = stream.schema.channels("target")
    if len(channels) * len(stream.values) <= _MOST_COPIED:
        values, observed = stream.values[:, channels], stream.observed[:, channels]
        stream = replace(stream, values=values, observed=observed)
        channels = list(range(len(channels)))
    rows, edges = find_grid_rows(stream, 0, schema.horizon), None
    if rows is not None:
        rows = replace(rows, all_inside=rows.all_lie_inside(windows))
        edges = _find_edges(schema, windows.origins.new_zeros(1))
    return TargetAhead(stream, schema, channels, rows, edges)


def _find_edges(schema: DataSchema, origins: Tensor) -> Tensor:
    return in_seconds(schema.step_edges(origins) - origins[:, None])
