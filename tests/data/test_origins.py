"""Listing and counting origins, against loops that look at one item, and one row, at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmts.data.windows
from mmts.data.availability import NEVER
from mmts.data.clock import Clock
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.windows import count_origins, latest_origins, list_origins

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
ZONE = "Europe/Berlin"
# An hour is missing in the night to the 31st.
START = pd.Timestamp("2024-03-26", tz=ZONE).value // 1000

Pair = tuple[int, int]


@st.composite
def random_targets(draw: st.DrawFn) -> tuple[Stream, DataSchema]:
    """Draw a target stream whose items begin, end and have gaps anywhere."""
    unit = draw(st.sampled_from(["microsecond", "day", "month"]))
    every = draw(st.integers(1, 3)) * (HOUR if unit == "microsecond" else 1)
    zone = None if unit == "microsecond" else ZONE
    clock = Clock.model_validate({"every": every, "unit": unit, "time_zone": zone})
    states, has_future = draw(st.booleans()), draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    roles = ["target", "target", "past", *(["future"] if has_future else [])]
    target = StreamSchema.model_validate(
        {
            "columns": [
                ColumnSchema.model_validate({"name": f"c{n}", "role": role, "type": "number"})
                for n, role in enumerate(roles)
            ],
            "time": "time",
            "item": "item",
            "has_items": True,
            "clock": clock,
            "stamp": "start",
            "delay": draw(st.sampled_from([0, MINUTE, DAY])),
            "available_at": "available" if states else None,
            "known_ahead": None,
            "context_steps": draw(st.integers(1, 5)),
            "context_span": 1,
            "future_steps": 4 if has_future else 0,
        }
    )
    lengths = random.integers(0, 30, draw(st.integers(1, 6))) * (random.random() < 0.9)
    end = torch.from_numpy(np.cumsum(lengths))
    begin = end - torch.from_numpy(lengths)
    later = clock.floor(torch.full((len(lengths),), START))
    first_time = clock.advance(later, torch.from_numpy(random.integers(0, 9, len(lengths))))
    shape = (int(end[-1]), len(roles))
    observed = torch.from_numpy(random.random(shape) < random.choice([0.02, 0.5, 0.95]))
    # At a place of the grid, and just before and after it, where a step more or less is decided.
    stated = START + random.integers(-5 * 24, 60 * 24, shape[0]) * HOUR
    stated += random.choice([-1, 0, 1, 7 * MINUTE], shape[0])
    stated[random.random(shape[0]) < 0.1] = NEVER
    stream = Stream(
        schema=target,
        values=torch.zeros(shape),
        observed=observed,
        begin=begin,
        end=end,
        first_time=first_time.where(begin < end, 0),
        event_times=torch.zeros(0, dtype=torch.int64),
        available=torch.from_numpy(stated if states else stated[:0]),
    )
    schema = DataSchema(
        streams={"load": target},
        target_stream="load",
        horizon=draw(st.integers(1, 5)),
        has_time_zone=True,
    )
    return stream, schema


bounds = st.tuples(st.integers(-10 * DAY, 40 * DAY), st.integers(0, 3000 * DAY)).map(
    lambda drawn: (START + drawn[0], START + drawn[0] + drawn[1])
)


@given(drawn=random_targets(), bounds=bounds, known=st.none() | st.integers(-DAY, 60 * DAY))
@settings(deadline=None, max_examples=200)
@pytest.mark.parametrize("block", [3, 1_000_000])
def test_origins_are_those_that_a_look_at_every_place_finds(
    block: int, drawn: tuple[Stream, DataSchema], bounds: Pair, known: int | None
) -> None:
    stream, schema = drawn
    known_at = None if known is None else START + known
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmts.data.windows, "BLOCK", block)
        windows = list_origins(stream, schema, *bounds, known_at)
    found = list(zip(windows.items.tolist(), windows.origins.tolist(), strict=True))
    expected, total, early = [], 0, 0
    for item, place in places_inside(stream, schema, bounds):
        total += 1
        early += place < schema.target.context_steps
        ahead = range(place, place + schema.horizon)
        told = [step for step in ahead if holds_value(stream, item, step, "target")]
        in_time = known_at is None or all(known_from(stream, item, n) <= known_at for n in told)
        if told and in_time and place >= schema.target.context_steps:
            expected.append((item, place_time(stream, item, place)))
    assert found == expected
    assert (windows.items.dtype, windows.origins.dtype) == (torch.int32, torch.int64)
    counted = count_origins(stream, schema, *bounds, len(windows))
    assert counted == (total, early, total - early - len(found))


@given(drawn=random_targets())
@settings(deadline=None, max_examples=200)
@pytest.mark.parametrize("block", [3, 1_000_000])
def test_the_latest_origin_follows_the_last_row_that_tells_of_the_past(
    block: int, drawn: tuple[Stream, DataSchema]
) -> None:
    stream, schema = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmts.data.windows, "BLOCK", block)
        windows = latest_origins(stream, schema)
    expected = []
    for item in range(len(stream.begin)):
        rows = stream.rows(item)
        for place in reversed(range(rows.stop - rows.start)):
            stated = not stream.states_availability or stream.available[rows][place] < NEVER
            if stated and holds_value(stream, item, place, "target", "past"):
                over = place_time(stream, item, place + 1)
                known = max(over, known_from(stream, item, place))
                later = place
                while place_time(stream, item, later) < known:
                    later += 1
                expected.append((item, place_time(stream, item, later)))
                break
    assert list(zip(windows.items.tolist(), windows.origins.tolist(), strict=True)) == expected
    assert (windows.items.dtype, windows.origins.dtype) == (torch.int32, torch.int64)


def places_inside(stream: Stream, schema: DataSchema, bounds: Pair) -> list[Pair]:
    """Return item and place of every origin whose horizon lies in the rows and the bounds."""
    return [
        (item, place)
        for item in range(len(stream.begin))
        for place in range(int(stream.end[item] - stream.begin[item]) - schema.horizon + 1)
        if place_time(stream, item, place) >= bounds[0]
        and place_time(stream, item, place + schema.horizon) <= bounds[1]
    ]


def place_time(stream: Stream, item: int, place: int) -> int:
    """Return when a place of an item's grid begins."""
    assert stream.schema.clock is not None
    return int(stream.schema.clock.advance(stream.first_time[item], place))


def holds_value(stream: Stream, item: int, place: int, *roles: str) -> bool:
    """Return whether a row holds a value in a column of these roles."""
    row = stream.observed[int(stream.begin[item]) + place].tolist()
    columns = zip(stream.schema.columns, row, strict=True)
    return any(seen and column.role in roles for column, seen in columns)


def known_from(stream: Stream, item: int, place: int) -> int:
    """Return when what a row tells of the past became known."""
    over = place_time(stream, item, place + 1) + stream.schema.delay
    if not stream.states_availability:
        return over
    stated = int(stream.available[int(stream.begin[item]) + place])
    return max(over, stated) if stream.schema.has_future else stated
