"""Windows across clocks, against a slow reference that looks at every row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmts.config import load_config
from mmts.data.batch import WindowGatherer
from mmts.data.config import StreamConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.scaling import ColumnScaling, StreamScaling
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.streams import Stream, build_stream
from mmts.data.tables import read_table
from mmts.data.windows import build_windows
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(load_config(write_world(tmp_path_factory.mktemp("world"))).data)


def test_streams_keep_rate_length_and_width_of_their_own(dataset: Dataset) -> None:
    streams = dataset.schema.streams
    hours = {name: s.period // (60 * MINUTE) for name, s in streams.items()}
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
    assert not weather.observed[5:7].any()
    assert bool(weather.observed[7:9].all())


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


_COLUMNS = (
    ColumnSchema(name="a", role="past", type="number"),
    ColumnSchema(name="b", role="future", type="number"),
)


def _random_stream(
    kind: str, roles: str, delay: int, ahead: int | None, cells: list[bool]
) -> tuple[Stream, pd.DataFrame]:
    """Build one stream of about 40 rows, a few minutes apart, some of them missing."""
    step = 7
    gaps = np.random.default_rng(sum(cells)).integers(1, 20, len(cells))
    minutes = np.cumsum(gaps) if kind == "irregular" else np.arange(len(cells)) * step
    columns = tuple(c for c in _COLUMNS if roles in (c.role, "both"))
    frame = pd.DataFrame(
        {"time": pd.Timestamp("2024-01-01") + pd.to_timedelta(minutes, unit="min")}
    )
    for place, column in enumerate(columns):
        frame[column.name] = np.arange(len(cells), dtype=float) + 100 * place + 1
    frame = frame[np.array(cells) | (np.arange(len(cells)) == 0)]
    config = StreamConfig(path="", time="time", past=tuple(c.name for c in columns))
    schema = StreamSchema(
        columns=columns,
        time="time",
        item=None,
        stamp="event" if kind == "irregular" else "start",
        period=0 if kind == "irregular" else step * MINUTE,
        cover=0 if kind == "irregular" else step * MINUTE,
        delay=delay * MINUTE,
        known_ahead=None if ahead is None else ahead * MINUTE,
        context_steps=6,
        context_span=60 * MINUTE,
        future_steps=4 if roles != "past" else 0,
    )
    scaling = StreamScaling(
        numbers={c.name: ColumnScaling(mean=0.0, scale=1.0) for c in columns}, vocabularies={}
    )
    table = read_table(frame, config, columns)
    return build_stream(table, schema, scaling, ("only",)), frame


@given(
    kind=st.sampled_from(["regular", "irregular"]),
    roles=st.sampled_from(["past", "future", "both"]),
    delay=st.integers(0, 50),
    ahead=st.none() | st.integers(0, 30),
    cells=st.lists(st.booleans(), min_size=5, max_size=40),
    minute=st.integers(-10, 400),
)
@settings(deadline=None, max_examples=300)
def test_windows_never_hold_what_was_not_yet_available(
    kind: str, roles: str, delay: int, ahead: int | None, cells: list[bool], minute: int
) -> None:
    stream, frame = _random_stream(kind, roles, delay, ahead, cells)
    start = pd.Timestamp("2024-01-01")
    origin = start + pd.Timedelta(minutes=minute)
    items, origins = torch.zeros(1, dtype=torch.int64), torch.tensor([origin.value // 1000])
    horizon = 3
    data = DataSchema(
        streams={"s": stream.schema}, target_stream="s", horizon=horizon,
        frequency=7 * MINUTE, has_time_zone=False,
    )  # fmt: skip
    windows = build_windows({"s": stream}, items, origins)
    gatherer = WindowGatherer(data, {"s": stream}, windows)
    window = gatherer.gather(torch.tensor([0])).streams["s"]
    cover = pd.Timedelta(minutes=stream.schema.cover / MINUTE)
    held: set[float] = set()
    for place, column in enumerate(stream.schema.columns):
        seen = window.values[0, window.observed[0, :, place], place].tolist()
        held |= set(seen)
        rows = frame[frame[column.name].isin(seen)]
        assert len(rows) == len(seen)
        if column.role == "past":
            available = rows["time"] + cover + pd.Timedelta(minutes=delay)
            assert (available <= origin).all()
        else:
            assert (rows["time"] < origin + horizon * pd.Timedelta(minutes=7)).all()
            if ahead is not None:
                assert (rows["time"] - pd.Timedelta(minutes=ahead) <= origin).all()
    # And the other way round: the latest known past row is there.
    if roles == "past":
        available = frame["time"] + cover + pd.Timedelta(minutes=delay)
        known = frame[available <= origin]
        reach = pd.Timedelta(minutes=40 if kind == "regular" else 60)
        recent = known[known["time"] >= origin - reach + cover]
        slack = pd.Timedelta(minutes=delay + 7)
        if len(recent) and recent["time"].max() >= origin - reach + slack:
            assert recent["a"].max() in held


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
