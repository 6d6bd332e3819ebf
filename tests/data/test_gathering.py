"""Windows that have their times in common are gathered in another way, and hold the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmts.data import target_ahead
from mmts.data.clock import Clock
from mmts.data.gathering import WindowGatherer
from mmts.data.phased_windows import PhasedWindows, find_phases
from mmts.data.row_windows import take_rows
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.stream_windows import FreeWindows
from mmts.data.streams import Stream
from mmts.data.target_ahead import look_ahead
from mmts.data.windows import Windows

HOUR = 3_600_000_000
LENGTHS = {"a": 60, "b": 45}


def make_schema(name: str, hours: int = 1, future: bool = False, **settings: Any) -> StreamSchema:
    columns = [ColumnSchema(name=name, role="target" if name == "load" else "past", type="number")]
    if future:
        columns.append(ColumnSchema(name="plan", role="future", type="number"))
    defaults = {
        "stamp": "start",
        "delay": 0,
        "known_ahead": None,
        "context_steps": 12 // hours,
        "context_span": 12 * HOUR,
    }
    steps = -(-4 // hours) if future else 0
    return StreamSchema(
        columns=tuple(columns),
        time="time",
        item="item",
        has_items=True,
        clock=Clock(every=hours * HOUR),
        future_steps=steps,
        **{**defaults, **settings},
    )


def make_stream(schema: StreamSchema, late_by: int = 0) -> Stream:
    """Make rows with gaps, behind one another; late_by: rows by which item b begins later."""
    assert schema.clock is not None
    lengths = torch.tensor(list(LENGTHS.values())) * HOUR // schema.clock.every
    end = lengths.cumsum(0)
    observed = torch.rand(int(end[-1]), schema.num_channels) < 0.8
    return Stream(
        schema=schema,
        values=torch.randn(observed.shape).masked_fill(~observed, 0.0),
        observed=observed,
        begin=end - lengths,
        end=end,
        first_time=torch.tensor([0, late_by * schema.clock.every]),
        event_times=torch.zeros(0, dtype=torch.int64),
        available=torch.zeros(0, dtype=torch.int64),
    )


def make_windows(first: int, last: int) -> Windows:
    hours = torch.arange(first, last)
    items = torch.arange(len(LENGTHS), dtype=torch.int32).repeat_interleave(len(hours))
    return Windows(items, hours.repeat(len(LENGTHS)) * HOUR)


def gather_both(
    stream: Stream, target: StreamSchema, windows: Windows
) -> tuple[PhasedWindows, dict[str, tuple[Tensor, Tensor]]]:
    schema = DataSchema(
        streams={"load": target, "other": stream.schema},
        target_stream="load",
        horizon=4,
        has_time_zone=True,
    )
    phased = find_phases(stream, schema, windows)
    assert phased is not None
    items, origins = windows.items.long(), windows.origins
    free = FreeWindows(stream, schema.clock, schema.horizon)
    quick, plain = (found.gather(*found.place(items, origins)) for found in (phased, free))
    return phased, {name: (getattr(quick, name), getattr(plain, name)) for name in vars(plain)}


@pytest.mark.parametrize("reaches_out", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"delay": 2 * HOUR},
        {"stamp": "end"},
        {"future": True},
        {"future": True, "known_ahead": 3 * HOUR},
    ],
    ids=str,
)
def test_phased_windows_equal_those_gathered_one_by_one(
    settings: dict[str, Any], reaches_out: bool
) -> None:
    torch.manual_seed(0)
    stream = make_stream(make_schema("wind", **settings), late_by=5)
    # Before the first row, over the border of two items, and after the last row.
    windows = make_windows(-9, 90) if reaches_out else make_windows(21, 40)
    phased, found = gather_both(stream, make_schema("load"), windows)
    assert phased.rows.all_inside != reaches_out
    assert phased.phases.tolist() == [0]
    for name, (quick, plain) in found.items():
        assert quick.equal(plain), name


def test_a_stream_shorter_than_its_window_is_padded() -> None:
    stream = make_stream(make_schema("wind", context_steps=200, context_span=200 * HOUR))
    _, found = gather_both(stream, make_schema("load"), make_windows(0, 60))
    for name, (quick, plain) in found.items():
        assert quick.equal(plain), name
    assert found["observed"][0].sum() > 0


@pytest.mark.parametrize("future", [False, True])
def test_windows_of_a_slower_stream_have_phases(future: bool) -> None:
    stream = make_stream(make_schema("wind", hours=3, delay=HOUR, future=future), late_by=2)
    phased, found = gather_both(stream, make_schema("load"), make_windows(-9, 90))
    assert phased.phases.tolist() == [0, HOUR, 2 * HOUR]
    for name, (quick, plain) in found.items():
        assert quick.equal(plain), name


def test_a_stream_under_a_calendar_has_no_phases() -> None:
    stream = make_stream(make_schema("wind"))
    months = make_schema("load").model_copy(update={"clock": Clock(every=1, unit="month")})
    schema = DataSchema(
        streams={"load": months, "other": stream.schema},
        target_stream="load",
        horizon=4,
        has_time_zone=True,
    )
    assert find_phases(stream, schema, make_windows(20, 40)) is None


def test_a_batch_owns_its_memory() -> None:
    load = make_stream(make_schema("load"))
    schema = DataSchema(
        streams={"load": load.schema}, target_stream="load", horizon=4, has_time_zone=True
    )
    gatherer = WindowGatherer(schema, {"load": load}, make_windows(20, 40))
    before = load.values.clone()
    batch = gatherer.gather(torch.arange(10))
    batch.streams["load"].values.zero_()
    batch.target.zero_()
    assert load.values.equal(before)


@pytest.mark.parametrize("copied_at_once", [1, 150, 1 << 19])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_batches_hold_the_windows_in_order_whatever_is_copied_together(
    size: int, copied_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("mmts.data.gathering._COPIED_AT_ONCE", copied_at_once)
    monkeypatch.setattr("mmts.data.gathering._FOUND_AT_ONCE", 16)
    streams = {
        "load": make_stream(make_schema("load")),
        "wind": make_stream(make_schema("wind", hours=3, delay=HOUR), late_by=2),
    }
    schema = DataSchema(
        streams={name: stream.schema for name, stream in streams.items()},
        target_stream="load",
        horizon=4,
        has_time_zone=True,
    )
    gatherer = WindowGatherer(schema, streams, make_windows(-9, 60))
    order = torch.randperm(len(gatherer))[:50]
    batches = list(gatherer.batches(size, order))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    whole = gatherer.gather(order)
    for name, window in whole.streams.items():
        for field, values in vars(window).items():
            parts = [getattr(batch.streams[name], field) for batch in batches]
            assert torch.cat(parts).equal(values), (name, field)
    for field in ("step_edges", "target", "target_observed"):
        assert torch.cat([getattr(b, field) for b in batches]).equal(getattr(whole, field)), field
    assert not list(gatherer.batches(size, order[:0]))


@pytest.mark.parametrize("has_grid", [True, False])
def test_a_target_too_large_to_be_copied_out_of_its_stream_is_the_same(
    monkeypatch: pytest.MonkeyPatch, has_grid: bool
) -> None:
    torch.manual_seed(0)
    target = make_schema("load", future=True)
    stream = make_stream(target)
    assert stream.schema.num_channels == 2
    schema = DataSchema(
        streams={"load": target}, target_stream="load", horizon=4, has_time_zone=True
    )
    if not has_grid:
        monkeypatch.setattr(target_ahead, "find_grid_rows", lambda *_: None)
    windows = make_windows(12, 30)
    places = (windows.items.long(), windows.origins)
    found = []
    for most in (10**9, 0):
        monkeypatch.setattr(target_ahead, "_MOST_COPIED", most)
        ahead = look_ahead(stream, schema, windows)
        found.append(ahead.gather(*ahead.place(*places)))
    for one, other in zip(*found, strict=True):
        assert one.equal(other)
    assert found[0][1].shape == (len(windows), 4, 1)


def test_rows_are_the_same_however_they_are_taken() -> None:
    torch.manual_seed(0)
    stream = make_stream(make_schema("wind"))
    items = torch.tensor([0, 0, 0, 1, 1, 1])
    first = torch.tensor([-3, 20, 55, 58, 60, 100])
    values, observed = take_rows(stream, items, first, 7)
    for n, (item, begin) in enumerate(zip(items.tolist(), first.tolist(), strict=True)):
        own = range(int(stream.begin[item]), int(stream.end[item]))
        for step, row in enumerate(range(begin, begin + 7)):
            inside = row in own
            assert values[n, step].equal(stream.values[row] if inside else torch.zeros(1))
            assert observed[n, step].equal(
                stream.observed[row] if inside else torch.zeros(1, dtype=torch.bool)
            )
    several = replace(stream, begin=torch.tensor([0, 0]), end=torch.tensor([105, 105]))
    middle = torch.tensor([0, 30, 98])
    taken = take_rows(several, torch.zeros(3, dtype=torch.int64), middle, 7, all_inside=True)
    for quick, plain in zip(
        taken, take_rows(several, torch.zeros(3, dtype=torch.int64), middle, 7), strict=True
    ):
        assert quick.equal(plain)
