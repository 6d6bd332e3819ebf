"""Clocks: what a timestamp marks, when a row is known, and where the splits lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mmts.checkpoint import CheckpointInfo, build_model
from mmts.config import load_config
from mmts.data import detection
from mmts.data.dataset import Dataset, load_dataset
from mmts.errors import ConfigError, DataError
from mmts.forecasting import Forecaster
from tests.factories import START, make_frames, make_settings, write_config, write_frames

HOUR = 3_600_000_000

Frames = dict[str, pd.DataFrame]


def load(folder: Path, frames: Frames, settings: dict[str, Any]) -> Dataset:
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings)).data)


def untrained(folder: Path, frames: Frames, settings: dict[str, Any]) -> Forecaster:
    """Make a forecaster with the weights that it had before training."""
    dataset = load(folder, frames, settings)
    config = load_config(folder / "config.yaml")
    info = CheckpointInfo(
        config=config,
        data_schema=dataset.schema,
        scaling=dataset.scaling,
        split=dataset.split,
        fingerprint={},
        versions={},
        epoch=1,
        validation_loss=0.0,
    )
    return Forecaster(info, build_model(config, dataset.schema, dataset.scaling))


def with_stamps_at_the_end(frames: Frames, *names: str) -> Frames:
    """Stamp rows where their period ends: one period later."""
    moved = dict(frames)
    for name in names:
        times = frames[name]["time"]
        period = times.drop_duplicates().sort_values().diff().median()
        moved[name] = frames[name].assign(time=times + period)
    return moved


def test_stamps_at_the_end_of_a_period_say_the_same_as_at_its_start(tmp_path: Path) -> None:
    names = ("load", "weather", "plan", "news")
    at_start = load(tmp_path / "a", make_frames(), make_settings())
    settings = make_settings()
    for name in names:
        settings["data"]["streams"][name]["stamp"] = "end"
    at_end = load(tmp_path / "b", with_stamps_at_the_end(make_frames(), *names), settings)
    assert at_end.split == at_start.split
    assert at_end.scaling == at_start.scaling
    one, other = (data.windows("train").gather(torch.arange(50)) for data in (at_start, at_end))
    for name in names:
        assert torch.equal(one.streams[name].values, other.streams[name].values)
        assert torch.equal(one.streams[name].available, other.streams[name].available)
    assert torch.equal(one.target, other.target)


def test_a_forecast_is_stamped_as_the_target_is(tmp_path: Path) -> None:
    settings = make_settings()
    plain = untrained(tmp_path / "a", make_frames(), settings).predict(make_frames())
    settings["data"]["streams"]["load"]["stamp"] = "end"
    frames = with_stamps_at_the_end(make_frames(), "load")
    moved = untrained(tmp_path / "b", frames, settings).predict(frames)
    assert moved["origin"].tolist() == plain["origin"].tolist()
    later = pd.to_datetime(moved["timestamp"]) - pd.to_datetime(plain["timestamp"])
    assert set(later) == {pd.Timedelta("1h")}


def test_a_delay_of_the_target_moves_the_default_origin(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["load"]["delay"] = "90min"
    forecast = untrained(tmp_path, make_frames(), settings).predict(make_frames())
    assert set(forecast["origin"]) == {START + pd.Timedelta(days=16, hours=2)}


def test_scalers_see_a_row_only_if_it_had_arrived_before_the_cut(tmp_path: Path) -> None:
    settings = make_settings()
    frames = make_frames()
    cut = pd.Timestamp("2024-01-12")
    settings["data"]["split"] = {"validation": str(cut), "test": "2024-01-14"}
    # Weather covers three hours and arrives two hours later.
    last = frames["weather"]["time"] <= cut - pd.Timedelta("5h")
    known = frames["weather"][last]["wind"]
    found = load(tmp_path, frames, settings).scaling["weather"].numbers["wind"]
    assert found.mean == pytest.approx(known.mean())
    assert found.scale == pytest.approx(known.std(ddof=0))


def test_cuts_are_times_fractions_or_counts_of_rows(tmp_path: Path) -> None:
    found = []
    for cuts in (
        {"validation": "2024-01-09", "test": "2024-01-13", "end": "2024-01-15"},
        {"validation": 0.5, "test": 0.75, "end": 0.875},
        {"validation": 192, "test": 288, "end": 336},
    ):
        settings = make_settings()
        settings["data"]["split"] = cuts
        found.append(load(tmp_path, make_frames(), settings))
    assert found[0].split == found[1].split == found[2].split
    last = int(found[0].windows("test").windows.origins.max()) + 6 * HOUR
    assert pd.Timestamp(last, unit="us") == pd.Timestamp("2024-01-15")


def test_cuts_with_an_offset_are_moments_in_utc(tmp_path: Path) -> None:
    settings, frames = make_settings(), make_frames()
    settings["data"]["split"] = {"validation": "2024-01-09T02:00:00+02:00", "test": "2024-01-13"}
    with pytest.raises(DataError, match="states a UTC offset, and the data do not"):
        load(tmp_path / "naive", frames, settings)
    for name in ("load", "weather", "plan", "news"):
        frames[name]["time"] = frames[name]["time"].dt.tz_localize("UTC")
    split = load(tmp_path / "aware", frames, settings).split
    assert pd.Timestamp(split.validation, unit="us") == pd.Timestamp("2024-01-09")


def test_excluded_items_are_neither_trained_nor_forecast(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["exclude_items"] = ["south"]
    forecaster = untrained(tmp_path, make_frames(), settings)
    assert load_dataset(forecaster.info.config.data).items == ("north",)
    assert set(forecaster.predict(make_frames())["item_id"]) == {"north"}


def test_irregular_events_are_read_with_their_age(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["news"] = {
        "path": "news.csv", "time": "time", "stamp": "event", "context_length": "2d",
    }  # fmt: skip
    hours = [1, 5, 6, 30, 31, 50, 90, 170, 200, 260, 300, 310, 350, 370]
    frames["news"] = pd.DataFrame(
        {"time": START + pd.to_timedelta(hours, unit="h"), "mood": range(len(hours))}
    )
    found = load(tmp_path, frames, settings)
    assert not found.schema.streams["news"].is_regular
    windows = found.windows("train")
    origin = int((START + pd.Timedelta("60h")).to_datetime64().astype("datetime64[us]").astype(int))
    chosen = torch.nonzero(windows.windows.origins == origin).flatten()[:1]
    news = windows.gather(chosen).streams["news"]
    # The last two days before hour 60 hold the events of hours 30, 31 and 50.
    seen = news.observed[0, :, 0]
    assert (news.start[0][seen] / 3600).tolist() == [-30, -29, -10]


def test_a_frequency_that_rows_contradict_is_refused(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["weather"]["frequency"] = "2h"
    with pytest.raises(DataError, match="2024-01-01 03:00:00 does not stand on a grid of 2h"):
        load(tmp_path, make_frames(), settings)


def test_an_irregular_target_is_refused(tmp_path: Path) -> None:
    frames = make_frames()
    frames["load"].loc[5, "time"] += pd.Timedelta("7min")
    with pytest.raises(DataError, match="stand on no regular grid"):
        load(tmp_path, frames, make_settings())


def test_rows_of_a_stream_with_both_roles_are_available_by_their_past_columns(
    tmp_path: Path,
) -> None:
    settings = make_settings()
    settings["data"]["streams"]["plan"] |= {
        "past": ["planned"], "future": ["shift"], "delay": "2h", "context_length": "6h",
    }  # fmt: skip
    plan = load(tmp_path, make_frames(), settings).windows("train")
    window = plan.gather(torch.arange(3)).streams["plan"]
    hours = window.available[0] / 3600
    # Rows of hours -6 to -3 are known with their past columns, three hours after they began.
    assert hours[:4].tolist() == [-3, -2, -1, 0]
    assert bool((hours[4:] == -torch.inf).all())
    assert window.observed[0, :, 0].tolist() == [True] * 4 + [False] * 8
    assert bool(window.observed[0, :, 1].all())


def test_nothing_is_learned_from_items_without_a_target(tmp_path: Path) -> None:
    frames = make_frames()
    plain = load(tmp_path / "a", frames, make_settings())
    weather = frames["weather"]
    mars = weather[weather["item"] == "north"].assign(item="mars", wind=1e6)
    frames["weather"] = pd.concat([weather, mars])
    found = load(tmp_path / "b", frames, make_settings())
    assert found.scaling == plain.scaling
    assert "stream 'load' has no row of item mars: left out of weather" in found.notes


def test_a_stream_of_other_items_only_is_absent_everywhere(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"]["item"] += " of mars"
    found = load(tmp_path, frames, make_settings())
    assert any("no row of item north, south" in note for note in found.notes)
    batch = found.windows("train").gather(torch.arange(20))
    assert not batch.streams["weather"].observed.any()


def test_rows_that_only_tell_the_future_move_no_cut(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    plain = load(tmp_path / "a", frames, settings).split
    ahead = frames["load"].groupby("item").tail(72).copy()
    ahead["time"] += pd.Timedelta("72h")
    ahead["load"] = None
    frames["load"] = pd.concat([frames["load"], ahead])
    assert load(tmp_path / "b", frames, settings).split == plain


def test_places_for_events_are_counted_in_the_train_split_alone(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["news"] |= {"stamp": "event", "context_length": "1d"}
    early = START + pd.to_timedelta([1, 2, 3, 50, 51, 120], unit="h")
    late = START + pd.to_timedelta(range(14 * 24, 14 * 24 + 20), unit="h")
    counts = []
    for name, times in {"a": early, "b": early.append(late)}.items():
        frames["news"] = pd.DataFrame({"time": times, "mood": 1.0})
        counts.append(load(tmp_path / name, frames, settings).schema.streams["news"].context_steps)
    assert counts == [3, 3]


def test_known_ahead_counts_from_the_stamp(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["plan"] |= {"stamp": "end", "known_ahead": "3h"}
    window = load(tmp_path, make_frames(), settings).windows("train").gather(torch.arange(3))
    plan = window.streams["plan"]
    # The row of hour 2 to 3 is stamped 3 and known three hours before that: at the origin.
    ahead = plan.start[0] >= 0
    known = plan.observed[0, ahead].any(-1)
    assert known.tolist() == [True, True, True, False, False, False]


def test_a_stream_whose_periods_nobody_knows_is_refused(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"].loc[9, "time"] += pd.Timedelta("7min")
    with pytest.raises(DataError, match=r"nobody can say when their periods end.*stamp: event"):
        load(tmp_path, frames, make_settings())


def test_an_item_of_another_rate_is_refused(tmp_path: Path) -> None:
    frames = make_frames()
    weather = frames["weather"]
    slow = (weather["item"] == "south") & (weather["time"].dt.hour % 12 != 0)
    frames["weather"] = weather[~slow]
    with pytest.raises(DataError, match="item 'south' has a row every 12h, others every 3h"):
        load(tmp_path, frames, make_settings())


def test_items_too_short_for_a_window_stop_nobody(tmp_path: Path) -> None:
    frames = make_frames()
    new = frames["load"].head(20).assign(item="new")
    frames["load"] = pd.concat([frames["load"], new])
    found = load(tmp_path, frames, make_settings())
    assert "new" in found.items
    assert len(found.windows("train"))


def test_everything_too_short_for_a_window_is_told(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["horizon"] = 1000
    with pytest.raises(DataError, match="no window of the train split"):
        load(tmp_path, make_frames(), settings)


def test_a_stamp_of_another_century_is_refused_in_training_and_in_a_forecast(
    tmp_path: Path,
) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["weather"]["frequency"] = "3h"
    forecaster = untrained(tmp_path / "a", frames, settings)
    last = frames["weather"].index[-1]
    frames["weather"].loc[last, "time"] = pd.Timestamp("9999-12-31 21:00")
    with pytest.raises(DataError, match="9999-12-31 21:00:00 lies far from all rows before it"):
        load(tmp_path / "b", frames, settings)
    with pytest.raises(DataError, match="9999-12-31 21:00:00 lies far from all rows before it"):
        forecaster.predict(frames)


def test_gaps_of_many_items_are_refused_where_they_are_too_long_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["load"]["frequency"] = "1h"
    own = frames["load"][frames["load"]["item"] == "north"]
    thin = pd.concat([own.iloc[:1], own.iloc[-1:]])
    frames["load"] = pd.concat([thin.assign(item=f"item {n}") for n in range(20)])
    monkeypatch.setattr(detection, "MAX_GRID_GROWTH", 0)
    monkeypatch.setattr(detection, "MIN_GRID", len(own) - 1)
    with pytest.raises(DataError, match=r"places for 40 rows\. The longest gap is before"):
        load(tmp_path, frames, settings)


def test_items_too_far_apart_for_one_calendar_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmts.data.dataset._LONGEST_CALENDAR", 1_000_000)
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["clock"] = {"calendar": ["hour"]}
    old = frames["load"][frames["load"]["item"] == "north"].assign(item="old")
    old["time"] -= pd.Timedelta(days=365 * 700)
    frames["load"] = pd.concat([frames["load"], old])
    with pytest.raises(DataError, match=r"one calendar for all items, from 1.*would have 6,"):
        load(tmp_path, frames, settings)


def test_a_row_that_is_available_at_the_end_of_all_calendars_never_is(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    load_frame = frames["load"]
    published = load_frame["time"] + pd.Timedelta("1h")
    frames["load"] = load_frame.assign(published=published.dt.strftime("%Y-%m-%d %H:%M"))
    frames["load"].loc[load_frame.index[-5:], "published"] = "9999-12-31"
    settings["data"]["streams"]["load"] |= {"available_at": "published"}
    settings["data"]["streams"]["clock"] = {"calendar": ["hour"]}
    forecaster = untrained(tmp_path, frames, settings)
    found = load(tmp_path, frames, settings)
    assert len(found.streams["clock"].values) < 1000
    origins = forecaster.predict(frames).groupby("item_id")["origin"].first()
    assert origins["north"] == START + pd.Timedelta(days=16)
    # The default origin of south is where the rows end that are really there.
    assert origins["south"] == START + pd.Timedelta(days=16) - pd.Timedelta(hours=5)


def test_a_target_of_which_no_row_is_ever_available_has_no_window(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    frames["load"] = frames["load"].assign(published="9999-12-31")
    settings["data"]["streams"]["load"] |= {"available_at": "published"}
    settings["data"]["streams"]["clock"] = {"calendar": ["hour"]}
    with pytest.raises(DataError, match="no window of the train split"):
        load(tmp_path, frames, settings)


def test_one_column_is_not_time_and_item_at_once(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["load"]["item"] = "time"
    with pytest.raises(ConfigError, match="name one column twice"):
        load(tmp_path, make_frames(), settings)
