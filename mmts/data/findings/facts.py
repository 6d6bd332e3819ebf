"""The plain facts about the data of an experiment: rates, spans, gaps, windows and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmts.data.config import ColumnType, Role
from mmts.data.dataset import Dataset
from mmts.data.findings.coverage import Coverage
from mmts.data.findings.finding import say_stamp
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times
from mmts.data.windows import OriginCounts, Windows, count_origins

NUM_ORIGINS = 512
"""Windows, spread over all splits, from which is told what is known at an origin."""

_CHUNK = 64


@dataclass(frozen=True)
class ColumnFacts:
    """One column; missing: share of its cells, places of the grid without a row included."""

    name: str
    role: Role
    type: ColumnType
    missing: float


@dataclass(frozen=True)
class GapFacts:
    """The longest stretch without a value: its item, first stamp, places and microseconds."""

    item: str | None
    start: str
    num_places: int
    length: int


class Spread(NamedTuple):
    """Median and largest of some times, in microseconds."""

    median: int
    largest: int


@dataclass(frozen=True)
class StreamFacts:
    """One stream; times in microseconds, and stamps as the user writes them.

    every: its clock in words; None where it is static or irregular. typical_distance: median time
        from row to row.
    num_items: that have a row; None where the stream serves all items.
    num_rows: rows that hold a value. num_gaps: places of the grid that hold none.
    delay: as stated, and the day of an event that tells no time of day.
    lateness: of each row after its period, where rows say so themselves.
    age: of the newest row known at an origin, since its period was over. unknown: share of the
        origins at which no row is known.
    horizon_known: share of the steps over the horizon at which some future column is known; of an
        irregular stream the share of horizons with any such row. None without a future column.
    """

    name: str
    is_static: bool
    is_calendar: bool
    every: str | None
    typical_distance: int
    num_items: int | None
    absent_items: tuple[str, ...]
    num_rows: int
    first: str | None
    last: str | None
    num_gaps: int
    longest_gap: GapFacts | None
    missing: float
    columns: tuple[ColumnFacts, ...]
    context_steps: int
    future_steps: int
    delay: int
    lateness: Spread | None
    age: Spread | None
    unknown: float
    horizon_known: float | None
    num_bytes: int


@dataclass(frozen=True)
class SplitFacts:
    """One split, and how many origins it has."""

    name: str
    first: str
    end: str
    origins: OriginCounts


def state_facts(dataset: Dataset, coverages: dict[str, Coverage]) -> tuple[StreamFacts, ...]:
    """State what each stream holds, and what of it is known at the origins of the windows.

    coverages: of every stream.
    """
    known = _look_up(dataset)
    return tuple(_describe(dataset, name, coverages[name], known[name]) for name in dataset.streams)


def state_splits(dataset: Dataset) -> tuple[SplitFacts, ...]:
    """State what each split holds, and which of its origins have no window."""
    target, schema = dataset.streams[dataset.schema.target_stream], dataset.schema
    found = []
    for name, first, end in dataset.split.dates(schema):
        num_windows = len(dataset.origins[name])
        counts = count_origins(target, schema, *dataset.split.bounds(name), num_windows)
        found.append(SplitFacts(name, first, end, counts))
    return tuple(found)


def count_batch_bytes(schema: DataSchema, batch_size: int) -> int:
    """Count the bytes of one batch: float32 values and times, and one byte for each mask."""
    num_bytes = 4 * (schema.horizon + 1) + 5 * schema.horizon * len(schema.target_columns)
    for stream in schema.streams.values():
        num_bytes += stream.num_steps * (5 * stream.num_channels + 3 * 4)
    return batch_size * num_bytes


def count_stream_bytes(stream: Stream) -> int:
    """Count the bytes of a stream's tensors, in memory or in a memory map."""
    tensors = (stream.values, stream.observed, stream.event_times, stream.available)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Known(NamedTuple):
    """What is known of a stream at some origins."""

    age: Spread | None
    unknown: float
    horizon_known: float | None


def _describe(dataset: Dataset, name: str, coverage: Coverage, known: _Known) -> StreamFacts:
    stream, schema = coverage.stream, coverage.stream.schema
    present = coverage.present
    absent = torch.nonzero(stream.begin >= stream.end).flatten().tolist()
    first = last = None
    if not schema.is_static and present.any():
        bounds = [int(coverage.starts[present].min()), int(coverage.ends[present].max())]
        first, last = format_times(
            np.array(bounds), dataset.schema.has_time_zone, dataset.schema.time_zone
        )
    gaps = coverage.gaps()
    longest = max(gaps, key=lambda gap: gap.num_places, default=None)
    missing = 1 - coverage.observed.mean(axis=0) if len(present) else np.ones(len(schema.columns))
    late = coverage.lateness
    return StreamFacts(
        name=name,
        is_static=schema.is_static,
        is_calendar=schema.calendar is not None,
        every=None if schema.clock is None else str(schema.clock),
        typical_distance=0 if schema.is_static else coverage.typical_distance,
        num_items=len(dataset.items) - len(absent) if schema.has_items else None,
        absent_items=tuple(dataset.items[item] for item in absent) if schema.has_items else (),
        num_rows=int(present.sum()),
        first=first,
        last=last,
        num_gaps=sum(gap.num_places for gap in gaps),
        longest_gap=None
        if longest is None
        else GapFacts(
            item=dataset.items[longest.item] if schema.has_items else None,
            start=say_stamp(dataset.schema, stream, longest.start),
            num_places=longest.num_places,
            length=longest.end - longest.start,
        ),
        missing=float(missing.mean()),
        columns=tuple(
            ColumnFacts(column.name, column.role, column.type, float(share))
            for column, share in zip(schema.columns, missing, strict=True)
        ),
        context_steps=schema.context_steps,
        future_steps=schema.future_steps,
        delay=schema.delay + (0 if schema.days is None else schema.days.period),
        lateness=Spread(int(np.median(late)), int(late.max())) if len(late) else None,
        age=known.age,
        unknown=known.unknown,
        horizon_known=known.horizon_known,
        num_bytes=count_stream_bytes(stream),
    )


def _look_up(dataset: Dataset) -> dict[str, _Known]:
    """Gather some windows of all splits, and see what they hold."""
    schema, found = dataset.schema, dataset.origins.values()
    items = torch.cat([windows.items for windows in found])
    origins = torch.cat([windows.origins for windows in found])
    count = min(NUM_ORIGINS, len(items))
    chosen = torch.linspace(0, len(items) - 1, count, dtype=torch.float64).round().long()
    gatherer = WindowGatherer(schema, dataset.streams, Windows(items[chosen], origins[chosen]))
    ages: dict[str, list[torch.Tensor]] = {name: [] for name in dataset.streams}
    steps: dict[str, list[torch.Tensor]] = {name: [] for name in dataset.streams}
    for batch in gatherer.batches(_CHUNK):
        horizon = batch.step_edges[:, -1:]
        for name, window in batch.streams.items():
            stream = schema.streams[name]
            past = window.observed.any(dim=2) & (window.end <= 0)
            newest = torch.where(past, window.end, -torch.inf).max(dim=1).values
            ages[name].append(-newest)
            if stream.has_future:
                ahead = window.observed[..., stream.channels("future")].any(dim=2)
                touched = (window.start < horizon) & ((window.end > 0) | (window.start >= 0))
                ahead &= touched
                # Nobody knows how many events there should be.
                steps[name].append(ahead[touched] if stream.is_regular else ahead.any(dim=1))
    return {name: _summarise(ages[name], steps[name]) for name in dataset.streams}


def _summarise(ages: list[torch.Tensor], steps: list[torch.Tensor]) -> _Known:
    age = torch.cat(ages).double()
    known = torch.isfinite(age)
    spread = None
    if known.any():
        # In microseconds from float32 seconds: rounded to where these are exact.
        micro = age[known].mul(1e3).round().mul(1e3).long()
        spread = Spread(int(micro.median()), int(micro.max()))
    share = float(torch.cat(steps).double().mean()) if steps else None
    return _Known(spread, float((~known).double().mean()), share)
