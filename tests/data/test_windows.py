"""Windows across clocks, against a slow reference that looks at every row."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmts.config import load_config
from mmts.data.batch import Batch, StreamWindow
from mmts.data.clock import Clock
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.data.scaling import ColumnScaling, StreamScaling
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.streams import Stream, build_stream, empty_stream
from mmts.data.table import Table
from mmts.data.windows import Windows
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(load_config(write_world(tmp_path_factory.mktemp("world"))).data)


def test_the_latest_windows_are_whole_origins_of_all_items() -> None:
    items = torch.tensor([0, 1, 0, 1, 0, 1, 0], dtype=torch.int32)
    windows = Windows(items, torch.tensor([10, 10, 20, 20, 30, 30, 40]))
    assert windows.latest(1.0) is windows
    assert windows.latest(0.01).origins.tolist() == [40]
    # Two of seven are asked for; the other item of the earlier origin is not left behind.
    assert windows.latest(0.3).origins.tolist() == [30, 30, 40]
    assert windows.latest(0.3).items.tolist() == [0, 1, 0]


def test_streams_keep_rate_length_and_width_of_their_own(dataset: Dataset) -> None:
    streams = dataset.schema.streams
    hours = {name: s.clock.every // (60 * MINUTE) if s.clock else 0 for name, s in streams.items()}
    assert hours == {"load": 1, "weather": 3, "plan": 1, "news": 24, "site": 0}
    steps = {name: (s.context_steps, s.future_steps) for name, s in streams.items()}
    assert steps == {
        "load": (24, 0), "weather": (6, 0), "plan": (12, 6), "news": (4, 0), "site": (1, 0)
    }  # fmt: skip
    batch = dataset.windows("train").gather(torch.arange(5))
    shapes = {name: tuple(window.values.shape) for name, window in batch.streams.items()}
    assert shapes == {
        "load": (5, 24, 2), "weather": (5, 6, 2), "plan": (5, 18, 2), "news": (5, 4, 1),
        "site": (5, 1, 2),
    }  # fmt: skip


def test_what_never_changes_was_always_known(dataset: Dataset) -> None:
    site = dataset.windows("test").gather(torch.tensor([0, 5])).streams["site"]
    assert bool((site.available == -torch.inf).all())
    assert not site.start.any()
    assert not site.end.any()


def test_the_target_is_what_follows_the_origin(dataset: Dataset) -> None:
    windows = dataset.windows("test")
    batch = windows.gather(torch.tensor([3]))
    frame = make_frames()["load"]
    item = dataset.items[int(windows.windows.items[3])]
    origin = pd.Timestamp(int(windows.windows.origins[3]), unit="us")
    after = frame[(frame["item"] == item) & (frame["time"] >= origin)]["load"].head(6)
    numbers = dataset.scaling["load"].numbers["load"]
    scaled = (after.to_numpy() - numbers.mean) / numbers.scale
    np.testing.assert_array_equal(batch.target_observed[0, :, 0], np.isfinite(scaled))
    np.testing.assert_allclose(batch.target[0, :, 0], np.nan_to_num(scaled), rtol=1e-5)


def test_no_horizon_crosses_a_cut_and_no_window_is_in_two_splits(dataset: Dataset) -> None:
    seen: set[tuple[int, int]] = set()
    span = dataset.schema.horizon * dataset.schema.frequency
    for split in ("train", "validation", "test"):
        begin, end = dataset.split.bounds(split)
        windows = dataset.windows(split).windows
        assert len(windows)
        assert bool((windows.origins >= begin).all())
        assert bool((windows.origins + span <= end).all())
        pairs = set(zip(windows.items.tolist(), windows.origins.tolist(), strict=True))
        assert not pairs & seen
        seen |= pairs


def test_a_gap_in_a_regular_file_becomes_an_unobserved_row(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"] = frames["weather"].drop(index=[5, 6])
    write_frames(tmp_path, frames)
    found = load_dataset(load_config(write_config(tmp_path, make_settings())).data)
    weather = found.streams["weather"]
    assert len(weather.values) == len(frames["weather"]) + 2
    observed = weather.observed[weather.rows(0)]
    assert not observed[5:7].any()
    assert bool(observed[7:9].all())


def test_a_stream_that_ended_early_leaves_its_places_empty(tmp_path: Path) -> None:
    frames = make_frames()
    weather = frames["weather"]
    ended = weather["time"].min() + pd.Timedelta(days=15)
    frames["weather"] = weather[weather["time"] < ended]
    write_frames(tmp_path, frames)
    found = load_dataset(load_config(write_config(tmp_path, make_settings())).data)
    windows = found.windows("test")
    last = windows.gather(torch.tensor([len(windows) - 1])).streams["weather"]
    hours_since_end = -float(last.start[0][last.observed[0].any(-1)].max() / 3600 + 3)
    assert hours_since_end > 5
    assert not last.observed[0, -1].any()


def test_item_missing_in_one_stream_is_absent_there_and_noted(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"] = frames["weather"][frames["weather"]["item"] == "north"]
    write_frames(tmp_path, frames)
    found = load_dataset(load_config(write_config(tmp_path, make_settings())).data)
    assert any("'weather' has no row of item south" in note for note in found.notes)
    windows = found.windows("train")
    south = torch.nonzero(windows.windows.items == found.items.index("south")).flatten()
    batch = windows.gather(south[:4])
    assert not batch.streams["weather"].observed.any()
    assert batch.streams["load"].observed.any()


_ZONE = "Europe/Berlin"
_ITEMS = ("a", "b", "c")
_HORIZON = 3
_NEVER = 2**62
_ORIGIN = pd.Timestamp("2024-03-01", tz=_ZONE).value // 1000
_BEFORE = 60
_UNITS = {"minutes": 7 * MINUTE, "days": 1440 * MINUTE, "months": 30 * 1440 * MINUTE}


@dataclass(frozen=True)
class Row:
    """One row of a random stream; moments in microseconds.

    place: on the grid of its item. values: of the columns `past` and `future`.
    """

    place: int
    start: int
    end: int
    stated: int | None
    values: dict[str, float]


@dataclass(frozen=True)
class RandomStream:
    """A stream, and its rows by item; one list for all where it has no items."""

    schema: StreamSchema
    rows: dict[str | None, list[Row]]

    def build(self) -> Stream:
        names = [column.name for column in self.schema.columns]
        rows = [row for rows in self.rows.values() for row in rows]
        ends = np.cumsum([len(rows) for rows in self.rows.values()])
        stated = np.array([row.stated or 0 for row in rows], dtype=np.int64)
        table = Table(
            source="random",
            items=tuple(map(str, self.rows)) if self.schema.has_items else None,
            begin=ends - [len(rows) for rows in self.rows.values()],
            end=ends,
            times=np.array([row.start for row in rows], dtype=np.int64),
            columns={name: np.array([row.values[name] for row in rows]) for name in names},
            has_time_zone=True,
            available=None if self.schema.available_at is None else stated,
        )
        numbers = {name: ColumnScaling(mean=0.0, scale=1.0) for name in names}
        return build_stream(
            table, self.schema, StreamScaling(numbers=numbers, vocabularies={}), _ITEMS
        )

    def expect(self, item: str, origin: int, horizon_end: int) -> dict[str, list[float]]:
        """Return what a window must hold of each column, in order, looking at every row."""
        schema = self.schema
        rows = self.rows.get(item if schema.has_items else None, [])
        with_future = schema.has_future
        if schema.clock is None and not with_future:
            chosen = [row for row in rows if self._past_from(row) <= origin]
            if schema.available_at is not None:
                chosen.sort(key=lambda row: (row.stated, row.start))
            chosen = chosen[-schema.context_steps :]
        elif schema.clock is None:
            before = [row for row in rows if row.start < origin][-schema.context_steps :]
            chosen = before + [row for row in rows if row.start >= origin][: schema.future_steps]
        elif with_future:
            # The first place that is not over, counted on even where there is no row.
            first = self._num_over(rows, origin)
            inside = range(first - schema.context_steps, first + schema.future_steps)
            chosen = [row for row in rows if row.place in inside]
        else:
            due = self._num_over(rows, origin - schema.delay) - 1
            known = [row.place for row in rows if self._past_from(row) <= origin]
            last = due if schema.available_at is None else max([due, *known])
            inside = range(last - schema.context_steps + 1, last + 1)
            chosen = [row for row in rows if row.place in inside]
        if schema.clock is None:
            chosen = [row for row in chosen if row.start >= origin - schema.context_span]
        return {
            column.name: [
                row.values[column.name]
                for row in chosen
                if not np.isnan(row.values[column.name])
                and (
                    self._past_from(row) <= origin
                    if column.role == "past"
                    else self._future_from(row) <= origin and row.start < horizon_end
                )
            ]
            for column in schema.columns
        }

    def _past_from(self, row: Row) -> int:
        over = (self._day_end(row.start) if self.schema.days else row.end) + self.schema.delay
        if row.stated is None:
            return over
        stated = row.stated + self.schema.delay
        return max(over, stated) if self.schema.has_future else stated

    def _future_from(self, row: Row) -> int:
        if row.stated is not None:
            return row.stated + self.schema.delay
        return -_NEVER if self.schema.known_ahead is None else row.start - self.schema.known_ahead

    @staticmethod
    def _day_end(moment: int) -> int:
        local = pd.Timestamp(moment, unit="us", tz="UTC").tz_convert(_ZONE).normalize()
        return (local + pd.DateOffset(days=1)).value // 1000

    def _num_over(self, rows: list[Row], moment: int) -> int:
        """Count the places of a grid from its first row that are over; below zero before it."""
        assert self.schema.clock is not None
        if not rows:
            return 0
        return bisect_right(_edges(self.schema.clock, rows[0].start), moment) - 1 - _BEFORE


@lru_cache(maxsize=4096)
def _edges(clock: Clock, start: int) -> tuple[int, ...]:
    """List where periods begin, by pandas: `_BEFORE` before the given one, and many after."""
    if clock.unit == "microsecond":
        return tuple(start + n * clock.every for n in range(-_BEFORE, 4 * _BEFORE))
    local = pd.Timestamp(start, unit="us", tz="UTC").tz_convert(_ZONE).tz_localize(None)
    step = pd.DateOffset(**{f"{clock.unit}s": clock.every})
    edges = pd.date_range(local - _BEFORE * step, periods=5 * _BEFORE, freq=step)
    return tuple(edges.tz_localize(_ZONE).as_unit("us").asi8.tolist())


def _clock_of(kind: str, every: int) -> Clock | None:
    if kind == "minutes":
        return Clock(every=7 * MINUTE * every)
    if kind == "events":
        return None
    return Clock(every=every, unit="day" if kind == "days" else "month", time_zone=_ZONE)


@st.composite
def random_streams(draw: st.DrawFn) -> RandomStream:
    """Draw a stream of any clock, role and way of becoming known."""
    kind = draw(st.sampled_from(["minutes", "days", "months", "events", "dates"]))
    roles = draw(st.sampled_from([("past",), ("future",), ("past", "future")]))
    clock = _clock_of("events" if kind == "dates" else kind, draw(st.integers(1, 3)))
    unit = _UNITS.get("days" if kind == "dates" else kind, 7 * MINUTE)
    states = kind != "dates" and draw(st.booleans())
    ahead = None if states or "future" not in roles else draw(st.none() | st.integers(0, 4))
    has_items = draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    items: list[str | None] = [None]
    if has_items:
        items = [item for item in _ITEMS if random.random() < 0.8] or ["b"]
    rows, value = {}, 0.0
    for item in items:
        first = pd.Timestamp("2024-03-01", tz=_ZONE).value // 1000
        num_places = int(random.integers(1, 40))
        if clock is None:
            apart = np.cumsum(random.integers(0, 20, num_places))
            starts = [first + int(n) * MINUTE for n in np.unique(apart)]
            if kind == "dates":
                day = Clock(every=1, unit="day", time_zone=_ZONE)
                starts = _edges(day, first)[_BEFORE : _BEFORE + num_places]
            ends, places = starts, range(len(starts))
        else:
            later = _edges(clock, first)[_BEFORE + int(random.integers(0, 4))]
            edges = _edges(clock, later)[_BEFORE:]
            starts, ends, places = edges[:num_places], edges[1 : num_places + 1], range(num_places)
        here = []
        for place, start, end in zip(places, starts, ends, strict=True):
            if place and random.random() < 0.25:
                continue
            stated = None
            if states:
                minutes = int(random.uniform(-2, 6) * unit) // MINUTE
                stated = _NEVER if random.random() < 0.05 else end + minutes * MINUTE
            value += 1
            values = {role: value + 1000 * n for n, role in enumerate(roles)}
            values = {r: v if random.random() < 0.9 else np.nan for r, v in values.items()}
            here.append(Row(place, start, end, stated, values))
        rows[item] = here
    return RandomStream(
        StreamSchema(
            columns=tuple(ColumnSchema(name=r, role=r, type="number") for r in roles),
            time="time",
            item="item" if has_items else None,
            has_items=has_items,
            clock=clock,
            stamp="start" if clock else "event",
            delay=int(random.integers(0, 4)) * unit // 2,
            days=Clock(every=1, unit="day", time_zone=_ZONE) if kind == "dates" else None,
            available_at="available" if states else None,
            known_ahead=None if ahead is None else ahead * unit // 2,
            context_steps=draw(st.integers(1, 9)),
            context_span=draw(st.integers(1, 12)) * unit,
            future_steps=draw(st.integers(1, 6)) if "future" in roles else 0,
        ),
        rows,
    )


def make_target(clock: Clock) -> StreamSchema:
    """Return the schema of a target that reads nothing but gives the grid."""
    return StreamSchema(
        columns=(ColumnSchema(name="y", role="target", type="number"),),
        time="time",
        item=None,
        has_items=False,
        clock=clock,
        stamp="start",
        delay=0,
        known_ahead=None,
        context_steps=1,
        context_span=1,
        future_steps=0,
    )


def gather(drawn: dict[str, RandomStream], target: StreamSchema, windows: Windows) -> Batch:
    """Gather windows of streams, beside a target without a row."""
    schema = DataSchema(
        streams={**{name: stream.schema for name, stream in drawn.items()}, "target": target},
        target_stream="target",
        horizon=_HORIZON,
        has_time_zone=True,
    )
    streams = {name: stream.build() for name, stream in drawn.items()}
    streams["target"] = empty_stream(target, len(_ITEMS))
    return WindowGatherer(schema, streams, windows).gather(torch.arange(len(windows.origins)))


@given(
    drawn=st.lists(random_streams(), min_size=1, max_size=3),
    target_clock=st.sampled_from([("minutes", 1), ("days", 1), ("months", 1)]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=150)
def test_windows_hold_all_that_was_known_and_nothing_else(
    drawn: list[RandomStream], target_clock: tuple[str, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    clock = _clock_of(*target_clock)
    assert clock is not None
    rows = [row for s in drawn for rows in s.rows.values() for row in rows]
    # At, right before and right after whatever happens in a stream, and far outside.
    moments = [m for row in rows for m in (row.start, row.end, row.stated) if m and m < _NEVER]
    delays = [stream.schema.delay for stream in drawn] + [0]
    origins = [
        int(random.choice(moments)) + int(random.choice(delays)) + int(random.integers(-1, 2))
        for _ in range(12)
    ]
    origins += [min(moments) - 10**12, max(moments) + 10**12]
    # The forecast grid goes on from any origin on a clock with a fixed step, from edges on others.
    origins = clock.floor(torch.tensor(origins)).tolist()
    places = random.integers(0, len(_ITEMS), len(origins))

    target = make_target(clock)
    names = [f"s{n}" for n in range(len(drawn))]
    batch = gather(
        dict(zip(names, drawn, strict=True)),
        target,
        Windows(torch.tensor(places, dtype=torch.int32), torch.tensor(origins)),
    )
    for name, stream in zip(names, drawn, strict=True):
        window = batch.streams[name]
        for n, (place, origin) in enumerate(zip(places, origins, strict=True)):
            expected = stream.expect(
                _ITEMS[place], origin, _edges(clock, origin)[_BEFORE + _HORIZON]
            )
            for channel, column in enumerate(stream.schema.columns):
                seen = window.observed[n, :, channel]
                assert window.values[n, seen, channel].tolist() == expected[column.name]
                assert bool((window.available[n, seen] <= 0).all())
                assert not window.values[n, ~seen, channel].any()
            _require_times(stream, window, n, origin)


def make_events(minutes: dict[str, tuple[int, ...]], late: tuple[int, ...] = ()) -> RandomStream:
    """Make events of items, so many minutes after `_ORIGIN`; those that are late come after it."""
    rows: dict[str | None, list[Row]] = {}
    for item, moments in minutes.items():
        rows[item] = []
        for place, minute in enumerate(moments):
            moment = _ORIGIN + minute * MINUTE
            stated = _ORIGIN + (MINUTE if minute in late else -100 * MINUTE)
            rows[item].append(Row(place, moment, moment, stated, {"future": float(place)}))
    schema = StreamSchema(
        columns=(ColumnSchema(name="future", role="future", type="number"),),
        time="time",
        item="item",
        has_items=True,
        clock=None,
        stamp="event",
        delay=0,
        available_at="available",
        known_ahead=None,
        context_steps=4,
        context_span=100 * MINUTE,
        future_steps=3,
    )
    return RandomStream(schema, rows)


def gather_events(events: RandomStream) -> StreamWindow:
    """Gather the window of every item at `_ORIGIN`, beside a horizon of 42 minutes."""
    places = torch.arange(len(events.rows), dtype=torch.int32)
    windows = Windows(places, torch.full((len(places),), _ORIGIN))
    target = make_target(Clock(every=14 * MINUTE))
    return gather({"events": events}, target, windows).streams["events"]


def test_events_that_are_known_meet_at_the_origin() -> None:
    minutes = (-50, -40, -30, -20, -10, 10, 20, 30)
    window = gather_events(make_events({"a": minutes}, late=(-20, 10)))
    # What is not known lies at the ends, where a context and a horizon would be shorter.
    assert (window.start[0] / 60).tolist() == [-100, -40, -30, -10, 20, 30, -100]
    assert window.observed[0, :, 0].tolist() == [False, True, True, True, True, True, False]


def test_no_event_of_another_item_tells_when_it_was() -> None:
    window = gather_events(make_events({"a": (-10,), "b": (-30, 20, 25), "c": (-20, -5)}))
    assert (window.start / 60).tolist() == [
        [-100, -100, -100, -10, -100, -100, -100],
        [-100, -100, -100, -30, 20, 25, -100],
        [-100, -100, -20, -5, -100, -100, -100],
    ]


def _require_times(stream: RandomStream, window: StreamWindow, n: int, origin: int) -> None:
    """Hold start and end of every observed row against its own."""
    own = {v: row for rows in stream.rows.values() for row in rows for v in row.values.values()}
    for step in torch.nonzero(window.observed[n].any(-1)).flatten().tolist():
        channel = int(torch.nonzero(window.observed[n, step]).flatten()[0])
        row = own[float(window.values[n, step, channel])]
        assert float(window.start[n, step]) == np.float32((row.start - origin) / 1e6)
        assert float(window.end[n, step]) == np.float32((row.end - origin) / 1e6)


@pytest.mark.parametrize(
    ("every", "shift", "rows"),
    [("1h", "0h", 6), ("1h", "30min", 7), ("4h", "0h", 3), ("1D", "0h", 2)],
)
def test_a_known_future_of_any_rate_reaches_to_the_end_of_the_horizon(
    tmp_path: Path, every: str, shift: str, rows: int
) -> None:
    frames = make_frames()
    times = pd.date_range("2024-01-01", "2024-01-19", freq=every) + pd.Timedelta(shift)
    frames["plan"] = pd.DataFrame({"time": times, "planned": 1.0, "shift": "early"})
    write_frames(tmp_path, frames)
    settings = make_settings()
    settings["data"]["streams"]["plan"] |= {"item": None, "context_length": "2d"}
    found = load_dataset(load_config(write_config(tmp_path, settings)).data)
    assert found.schema.streams["plan"].future_steps == rows
    windows = found.windows("train")
    plan = windows.gather(torch.arange(len(windows))).streams["plan"]
    known = plan.observed.any(-1)
    horizon = 6 * 3600
    ends = plan.end.masked_fill(~known, -torch.inf).amax(1)
    assert (ends >= horizon).all()
    assert (plan.start[known] < horizon).all()


def test_rows_that_are_always_late_fill_the_window_as_a_delay_does(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    weather = frames["weather"]
    # Known a week after the three hours were over; the window holds 18 hours.
    frames["weather"] = weather.assign(published=weather["time"] + pd.Timedelta("171h"))
    write_frames(tmp_path, frames)
    stream = settings["data"]["streams"]["weather"]
    settings["data"]["split"] = {"validation": "2024-01-14", "test": "2024-01-15"}
    stream |= {"past": ["temperature", "wind"], "delay": "168h"}
    by_delay = load_dataset(load_config(write_config(tmp_path, settings)).data).windows("train")
    stream |= {"available_at": "published", "delay": "0h"}
    by_column = load_dataset(load_config(write_config(tmp_path, settings)).data).windows("train")
    chosen = torch.arange(len(by_delay))
    one, other = (w.gather(chosen).streams["weather"] for w in (by_delay, by_column))
    assert one.observed.any()
    assert torch.equal(one.observed, other.observed)
    torch.testing.assert_close(one.values, other.values)
