"""Windows that stand to their origins in one of few ways: then only values are copied.

A daily stream under hourly origins has windows in 24 phases, an hourly one in a single phase. When
rows begin and end, and which of them are known, is the same for all windows of a phase; it is
worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.grid_rows import GridRows, find_grid_rows
from mmts.data.row_times import find_times, in_seconds
from mmts.data.schema import DataSchema
from mmts.data.stream_windows import StreamWindows
from mmts.data.streams import Stream
from mmts.data.windows import Windows

_MAX_PLACES = 1 << 22
"""Of all phases together, places of values that are worked out before."""


@dataclass(frozen=True)
class PhasedWindows(StreamWindows):
    """Windows of one stream, and what those of a phase have in common.

    phases: (phase,) int64 microseconds, in order. times: (3, phase, step) float32 seconds relative
    to the origin, when rows begin, end and are known. doubtful: (place,) int64 into (step,
    channel), what is not known in all phases. known: (phase, place) bool, whether it is.
    """

    rows: GridRows
    phases: Tensor
    times: Tensor
    doubtful: Tensor
    known: Tensor

    def place(self, items: Tensor, origins: Tensor) -> tuple[Tensor, ...]:
        """Find the first row, and the phase where there are several."""
        first, past = self.rows.place(items, origins)
        if len(self.phases) == 1:
            return items, first
        return items, first, torch.searchsorted(self.phases, past)

    def gather(self, *places: Tensor) -> StreamWindow:
        """Copy rows, and what is known of their phases."""
        items, first, *phase = places
        values, observed = self.rows.take(items, first)

        def of_phase(tables: Tensor) -> Tensor:
            # That of a single phase need not be copied.
            if phase:
                return tables.index_select(-2, *phase)
            return tables.expand(*tables.shape[:-2], len(items), -1)

        if len(self.doubtful):
            unknown = ~of_phase(self.known)
            for held in (values.flatten(1), observed.flatten(1)):
                kept = held.index_select(1, self.doubtful).masked_fill_(unknown, 0)
                held.index_copy_(1, self.doubtful, kept)
        return StreamWindow(values, observed, *of_phase(self.times))


def find_phases(stream: Stream, schema: DataSchema, windows: Windows) -> PhasedWindows | None:
    """Look through all windows; None where they have no phases, or too many."""
    own = stream.schema
    if schema.clock.is_calendar or stream.states_availability or not len(windows):
        return None
    delay = 0 if own.has_future else own.delay
    rows = find_grid_rows(stream, own.context_steps, own.num_steps, delay)
    if rows is None:
        return None
    phases = rows.shift[:0]
    for _, _, past in rows.look_through(windows):
        phases = torch.unique(torch.cat([phases, torch.unique(past)]))
        if len(phases) * own.num_steps * own.num_channels > _MAX_PLACES:
            return None
    # Any origins do that have these phases: those for which the first row of all comes first.
    items = torch.zeros_like(phases)
    origins = phases - rows.shift[0]
    steps = torch.arange(own.num_steps, device=phases.device)
    horizon = schema.step_edges(origins)[:, -1:] - origins[:, None]
    times = find_times(stream, items, origins, steps.expand(len(phases), -1), horizon)
    known = times.known.expand(-1, -1, own.num_channels).flatten(1)
    doubtful = torch.nonzero(~known.all(dim=0)).flatten()
    return PhasedWindows(
        rows=replace(rows, all_inside=rows.all_lie_inside(windows)),
        phases=phases,
        times=torch.stack([in_seconds(times.start), in_seconds(times.end), times.available]),
        doubtful=doubtful,
        known=known[:, doubtful],
    )
