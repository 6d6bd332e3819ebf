"""A column that gives the target away is found, and an honest one is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.findings.finding import Finding
from mmts.data.findings.leaks import find_leaks
from tests.factories import make_frames, make_settings, write_config, write_frames

Shift = Callable[[pd.DataFrame, int], pd.Series]


def shifted(frame: pd.DataFrame, column: str, steps: int) -> pd.Series:
    """Return a column of so many steps later, of each item."""
    return frame.groupby("item")[column].shift(-steps)


def load(
    folder: Path, frames: dict[str, pd.DataFrame], settings: dict[str, Any] | None = None
) -> Dataset:
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings or make_settings())).data)


def leaks_of(dataset: Dataset) -> list[Finding]:
    return find_leaks(dataset.schema, dataset.streams, dataset.scaling)


def add_sensor(frames: dict[str, pd.DataFrame], values: pd.Series) -> dict[str, Any]:
    """Add a stream on the target's clock; returns settings that read it."""
    frames["sensor"] = frames["load"][["time", "item"]].assign(reading=values)
    settings = make_settings()
    settings["data"]["streams"]["sensor"] = {
        "path": "sensor.csv",
        "time": "time",
        "item": "item",
        "past": ["reading"],
    }
    return settings


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_covariate_that_is_the_target_of_later_is_found(tmp_path: Path, steps: int) -> None:
    frames = make_frames()
    settings = add_sensor(frames, shifted(frames["load"], "load", steps))
    (leak,) = leaks_of(load(tmp_path, frames, settings))
    assert (leak.kind, leak.stream, leak.column) == ("leak", "sensor", "reading")
    assert f"equals the target 'load' {steps} step" in leak.text
    assert "in 100.0% of" in leak.text
    assert "'delay'" in leak.text


def test_a_later_target_in_the_target_s_own_stream_is_found(tmp_path: Path) -> None:
    frames = make_frames()
    frames["load"]["staff"] = shifted(frames["load"], "load", 2)
    (leak,) = leaks_of(load(tmp_path, frames))
    assert (leak.stream, leak.column) == ("load", "staff")


@pytest.mark.parametrize("steps", [0, -5, 3])
def test_a_future_column_that_is_the_target_is_found(tmp_path: Path, steps: int) -> None:
    frames = make_frames()
    target = frames["load"][["time", "item"]].assign(planned=shifted(frames["load"], "load", steps))
    plan = frames["plan"].drop(columns="planned")
    frames["plan"] = plan.merge(target, on=["time", "item"], how="left")
    (leak,) = leaks_of(load(tmp_path, frames))
    assert (leak.stream, leak.column) == ("plan", "planned")
    assert "take it out of 'future'" in leak.text


def test_the_target_of_a_horizon_ago_may_be_known_ahead(tmp_path: Path) -> None:
    frames = make_frames()
    lagged = frames["load"][["time", "item"]].assign(planned=shifted(frames["load"], "load", -6))
    frames["plan"] = frames["plan"].drop(columns="planned").merge(lagged, how="left")
    assert leaks_of(load(tmp_path, frames)) == []


def test_a_later_target_that_is_known_late_enough_is_honest(tmp_path: Path) -> None:
    frames = make_frames()
    settings = add_sensor(frames, shifted(frames["load"], "load", 2))
    settings["data"]["streams"]["sensor"]["delay"] = "2h"
    assert leaks_of(load(tmp_path, frames, settings)) == []


@pytest.mark.parametrize("steps", [0, -1, -24, -168])
def test_the_target_of_now_or_before_is_honest(tmp_path: Path, steps: int) -> None:
    frames = make_frames()
    settings = add_sensor(frames, shifted(frames["load"], "load", steps))
    assert leaks_of(load(tmp_path, frames, settings)) == []


def test_an_honest_weekly_season_is_not_a_leak(tmp_path: Path) -> None:
    frames = make_frames()
    hour_of_week = frames["load"]["time"].dt.day_of_week * 24 + frames["load"]["time"].dt.hour
    season = pd.Series(np.random.default_rng(1).normal(size=168))[hour_of_week].to_numpy()
    frames["load"]["load"] += 10 * season
    settings = add_sensor(frames, pd.Series(season))
    assert leaks_of(load(tmp_path, frames, settings)) == []


def test_a_target_that_repeats_itself_is_let_go(tmp_path: Path) -> None:
    frames = make_frames()
    hour = frames["load"]["time"].dt.hour % 6
    frames["load"]["load"] = pd.Series([3.0, 1.0, 4.0, 1.5, 9.0, 2.0])[hour].to_numpy()
    settings = add_sensor(frames, shifted(frames["load"], "load", -4))
    assert leaks_of(load(tmp_path, frames, settings)) == []


def test_a_copy_of_a_target_that_seldom_moves_is_honest(tmp_path: Path) -> None:
    frames = make_frames(days=40)
    level = np.random.default_rng(2).normal(size=(40 * 24 + 7) // 8)
    frames["load"]["load"] = np.tile(np.repeat(level, 8)[: 40 * 24], 2)
    settings = add_sensor(frames, frames["load"]["load"])
    assert leaks_of(load(tmp_path, frames, settings)) == []


def test_a_few_equal_pairs_are_no_leak(tmp_path: Path) -> None:
    frames = make_frames()
    later = shifted(frames["load"], "load", 3)
    later[20:] = np.nan
    assert leaks_of(load(tmp_path, frames, add_sensor(frames, later))) == []


def test_another_target_of_later_is_found(tmp_path: Path) -> None:
    frames = make_frames()
    frames["load"]["staff"] = shifted(frames["load"], "load", 1)
    settings = make_settings()
    settings["data"]["streams"]["load"] |= {"target": ["load", "staff"], "past": []}
    leaks = leaks_of(load(tmp_path, frames, settings))
    assert [leak.column for leak in leaks] == ["staff"]


def test_every_training_is_warned_of_a_leak(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    settings = add_sensor(frames, shifted(frames["load"], "load", 3))
    with caplog.at_level(logging.WARNING, logger="mmts"):
        dataset = load(tmp_path, frames, settings)
    assert any("equals the target 'load' 3 steps later" in note for note in dataset.notes)
    assert "equals the target 'load' 3 steps later" in caplog.text


def test_a_leak_is_found_in_an_excerpt_of_a_large_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = make_frames()
    load = frames["load"]
    frames["load"] = load.assign(soon=load.groupby("item")["load"].shift(-3))
    settings = make_settings()
    settings["data"]["streams"]["load"]["past"] = ["staff", "soon"]
    write_frames(tmp_path, frames)
    dataset = load_dataset(load_config(write_config(tmp_path, settings)).data)
    whole = find_leaks(dataset.schema, dataset.streams, dataset.scaling)
    monkeypatch.setattr("mmts.data.findings.excerpt.MAX_ROWS", 300)
    part = find_leaks(dataset.schema, dataset.streams, dataset.scaling)
    assert [leak.column for leak in part] == [leak.column for leak in whole] == ["soon"]
    assert "3 steps later" in str(part[0])
