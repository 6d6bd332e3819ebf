"""What is unusual about the streams of an experiment, in sentences; nothing is repaired."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from mmts.data.clock import DAY
from mmts.data.dataset import Dataset
from mmts.data.findings.columns import find_in_column, say_number, say_row
from mmts.data.findings.coverage import Coverage
from mmts.data.findings.finding import Finding, say_count, say_listing, say_stamp
from mmts.data.findings.leaks import find_leaks
from mmts.data.times import format_times

MIN_FLAT_RUN = 24
"""Steps that a target must stay the same to be called flat, besides two horizons."""


def find_unusual(dataset: Dataset, coverages: dict[str, Coverage]) -> tuple[Finding, ...]:
    """Find what a forecaster would want to know before training, gravest first.

    coverages: of every stream.
    """
    found = find_leaks(dataset.schema, dataset.streams, dataset.scaling)
    for name, coverage in coverages.items():
        schema = coverage.stream.schema
        found += _early_availability(name, coverage)
        if schema.calendar is not None or not len(coverage.items):
            continue
        found += _whole_days(dataset, name, coverage)
        late = list(_late_start(dataset, name, coverage))
        found += late or list(_early_end(dataset, name, coverage, coverages))
        for place in range(len(schema.columns)):
            found += find_in_column(dataset, name, coverage, place, known_in_train=not late)
        found += _duplicates(name, coverage)
    target = dataset.schema.target_stream
    found += _flat_runs(dataset, target, coverages[target])
    found += _short_items(dataset, target)
    return tuple(found)


def _early_availability(name: str, coverage: Coverage) -> Iterator[Finding]:
    schema = coverage.stream.schema
    # Beside future columns `available_at` speaks of these, which are known ahead.
    if schema.has_future or not len(coverage.lateness):
        return
    early = coverage.lateness < 0
    if early.any():
        event = "their own time" if schema.clock is None else "their period is over"
        yield Finding(
            "early availability",
            name,
            schema.available_at,
            f"{early.mean():.1%} of the rows are available before {event}. They are read so early; "
            "if they tell how the period ended, correct the column or set 'delay'.",
        )


def _whole_days(dataset: Dataset, name: str, coverage: Coverage) -> Iterator[Finding]:
    """Find rows of days in UTC where a calendar counts local days that begin later."""
    clock, zone = coverage.stream.schema.clock, dataset.schema.time_zone
    if clock is None or zone is None or clock.period % DAY or not len(coverage.starts):
        return
    has_calendar = any(s.calendar is not None for s in dataset.schema.streams.values())
    in_utc = clock.unit == "microsecond" or (clock.unit == "day" and clock.time_zone is None)
    first = int(coverage.starts[0])
    if not has_calendar or not in_utc or first % DAY:
        return
    local = str(format_times(np.array([first]), True, zone)[0])
    if "T00:" in local or local[-6] == "+":
        return
    yield Finding(
        "days of UTC",
        name,
        None,
        f"its rows are days of UTC, which begin on the day before in {zone} (the first at "
        f"{local}), so that a calendar counts them one day early. State the stamps in local time, "
        "or take out data.time_zone.",
    )


def _late_start(dataset: Dataset, name: str, coverage: Coverage) -> Iterator[Finding]:
    starts = coverage.starts[coverage.present]
    if coverage.stream.schema.is_static or not len(starts):
        return
    if int(starts.min()) >= dataset.split.validation:
        stream = coverage.stream
        yield Finding(
            "late start",
            name,
            None,
            f"its first value is of {say_stamp(dataset.schema, stream, int(starts.min()))}, after "
            "the train split has ended, so that nothing is learned from it. Move data.split, or "
            "take the stream out.",
        )


def _early_end(
    dataset: Dataset, name: str, coverage: Coverage, coverages: dict[str, Coverage]
) -> Iterator[Finding]:
    """Find items whose last window holds nothing of a stream that was there before."""
    schema, stream = dataset.schema, coverage.stream
    if stream.schema.is_static or name == schema.target_stream:
        return
    target = coverages[schema.target_stream]
    span = max(schema.horizon * schema.frequency, _reach(coverage))
    ended = _ends_by_item(target, len(dataset.items))
    own = _ends_by_item(coverage, len(dataset.items))
    if not stream.schema.has_items:
        ended, own = ended[ended >= 0].max(keepdims=True), own[:1]
    long_before = (own >= 0) & (ended >= 0) & (own + stream.schema.delay + span < ended)
    if not long_before.any():
        return
    worst = int(np.argmax(np.where(long_before, ended - own, -1)))
    whose = ""
    if stream.schema.has_items:
        names = [dataset.items[item] for item in np.flatnonzero(long_before)]
        whose = f" for {say_count(len(names), 'item')} ({say_listing(names)})"
    shown = format_times(
        np.array([own[worst], ended[worst]]), schema.has_time_zone, schema.time_zone
    )
    yield Finding(
        "early end",
        name,
        None,
        f"ends long before the target does{whose}, such as at {shown[0]} against {shown[1]}: "
        "later windows hold nothing of it. Give newer rows, or end the test split there "
        "(data.split.end).",
    )


def _reach(coverage: Coverage) -> int:
    """Return how far back a window looks, in microseconds; a number of events at its typical."""
    schema = coverage.stream.schema
    if schema.clock is not None:
        return schema.context_steps * schema.clock.period
    return min(schema.context_span, schema.context_steps * coverage.typical_distance)


def _ends_by_item(coverage: Coverage, num_items: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return when the last row with a value is over, (item,); -1 where there is none."""
    last = np.full(num_items, -1, dtype=np.int64)
    np.maximum.at(last, coverage.items[coverage.present], coverage.ends[coverage.present])
    return last


def _duplicates(name: str, coverage: Coverage) -> Iterator[Finding]:
    """Find columns that hold the same values: these are scaled alike, and so equal to the bit."""
    schema = coverage.stream.schema
    seen: dict[bytes, list[int]] = {}
    for place, column in enumerate(schema.columns):
        own = coverage.observed[:, place]
        if column.type == "text" or not own.any():
            continue
        channel = coverage.stream.values[: len(own), schema.slices[place].start]
        values = channel.contiguous()
        if len(values) > 1 and bool((values[own] != values[own.argmax()]).any()):
            # NaN has many forms, and -0 is 0.
            plain = torch.nan_to_num(values, nan=float(np.finfo(np.float32).max)) + 0.0
            key = column.type.encode() + _digest(plain)
            seen.setdefault(key, []).append(place)
    for places in seen.values():
        first, *others = (schema.columns[place].name for place in places)
        for other in others:
            yield Finding(
                "duplicated column",
                name,
                other,
                f"holds the same as column {first!r} in every row. Take one of them out.",
            )


def _digest(values: torch.Tensor) -> bytes:
    return hashlib.sha256(values.numpy().tobytes()).digest()


def _flat_runs(dataset: Dataset, name: str, coverage: Coverage) -> Iterator[Finding]:
    least = max(MIN_FLAT_RUN, 2 * dataset.schema.horizon)
    for place, column in enumerate(coverage.stream.schema.columns):
        if column.role != "target" or len(coverage.items) < 2:
            continue
        values = coverage.values(place)
        breaks = (values[1:] != values[:-1]) | (coverage.items[1:] != coverage.items[:-1])
        first = np.flatnonzero(np.append(True, breaks))
        lengths = np.diff(np.append(first, len(values)))
        long = np.flatnonzero(lengths >= least)
        if not len(long):
            continue
        worst = first[long[lengths[long].argmax()]]
        yield Finding(
            "flat target",
            name,
            column.name,
            f"stays the same for {least} steps or more in {say_count(len(long), 'place')}; "
            f"longest {lengths[long].max():,} steps of "
            f"{say_number(coverage, place, values[worst])} from "
            f"{say_row(dataset, coverage, int(worst))}. If it was not measured there, leave the "
            "cells empty.",
        )


def _short_items(dataset: Dataset, name: str) -> Iterator[Finding]:
    stream, schema = dataset.streams[name], dataset.schema
    trained = set(dataset.origins["train"].items.tolist())
    short = [item for place, item in enumerate(dataset.items) if place not in trained]
    if short:
        steps = stream.schema.context_steps + schema.horizon
        yield Finding(
            "short history",
            name,
            None,
            f"{len(short):,} of {say_count(len(dataset.items), 'item')} have no window in the "
            f"train split, which takes {steps:,} steps: {say_listing(short)}. The model learns "
            "nothing of them; shorten context_length, or list them under data.exclude_items.",
        )
