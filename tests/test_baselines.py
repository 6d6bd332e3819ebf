"""Baselines: what they repeat, what they never see, and ridge against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mmts.baselines.naive import (
    candidate_seasons,
    choose_season,
    forecast_last_value,
    forecast_seasonal,
)
from mmts.baselines.ridge import fit_ridge
from mmts.config import load_config
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset, load_streams
from mmts.data.gathering import WindowGatherer
from mmts.data.windows import Windows
from mmts.linear.targets import collect_targets
from tests.data.test_no_peeking import ORIGIN, overwrite_unknown
from tests.factories import START, make_frames, make_settings, write_world

CONFIGS = DataConfig.model_validate(make_settings()["data"])
MICROSECONDS = int(ORIGIN.to_datetime64().astype("datetime64[us]").astype(np.int64))


def make_dataset(folder: Path, values: np.ndarray, frequency: str = "h", **stream: Any) -> Dataset:
    """Make one series with a horizon of four steps, split in its middle and at three quarters."""
    times = pd.date_range(START, periods=len(values), freq=frequency)
    pd.DataFrame({"time": times, "y": values}).to_csv(folder / "y.csv", index=False)
    target = {"path": "y.csv", "time": "time", "target": ["y"], "context_length": 8, **stream}
    settings = {
        "root": str(folder),
        "horizon": 4,
        "split": {"validation": 0.5, "test": 0.75},
        "streams": {"series": target},
    }
    return load_dataset(DataConfig.model_validate(settings))


def windows_at(dataset: Dataset, row: int) -> WindowGatherer:
    """Return the one window whose first step is a row of the series."""
    stream = dataset.streams["series"]
    items, origins = torch.tensor([0]), stream.times(0)[row : row + 1]
    return WindowGatherer(dataset.schema, dataset.streams, Windows(items, origins))


def unscale(dataset: Dataset, forecast: Tensor) -> list[float]:
    scaling = dataset.scaling["series"].numbers["y"]
    return (forecast[0, :, 0].double() * scaling.scale + scaling.mean).round(decimals=3).tolist()


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(load_config(write_world(tmp_path_factory.mktemp("world"))).data)


class TestLastValue:
    def test_repeats_the_last_value_before_the_origin(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, np.arange(40.0))
        assert unscale(dataset, forecast_last_value(windows_at(dataset, 20))) == [19.0] * 4

    def test_goes_back_over_missing_values(self, tmp_path: Path) -> None:
        values = np.arange(40.0)
        values[17:20] = np.nan
        dataset = make_dataset(tmp_path, values)
        assert unscale(dataset, forecast_last_value(windows_at(dataset, 20))) == [16.0] * 4

    def test_reads_no_value_that_is_still_delayed(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, np.arange(40.0), delay="2h")
        assert unscale(dataset, forecast_last_value(windows_at(dataset, 20))) == [17.0] * 4

    def test_falls_back_to_the_mean_of_the_train_split(self, tmp_path: Path) -> None:
        values = np.arange(40.0)
        values[12:20] = np.nan
        dataset = make_dataset(tmp_path, values)
        mean = dataset.scaling["series"].numbers["y"].mean
        found = unscale(dataset, forecast_last_value(windows_at(dataset, 20)))
        assert found == pytest.approx([mean] * 4, abs=1e-3)


class TestSeasonalNaive:
    def test_repeats_the_value_one_season_before_each_step(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, np.arange(40.0))
        found = forecast_seasonal(windows_at(dataset, 20), season=6)
        assert unscale(dataset, found) == [14.0, 15.0, 16.0, 17.0]

    def test_repeats_a_season_shorter_than_the_horizon(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, np.arange(40.0))
        found = forecast_seasonal(windows_at(dataset, 20), season=3)
        assert unscale(dataset, found) == [17.0, 18.0, 19.0, 17.0]

    def test_goes_back_by_whole_seasons_where_a_value_is_missing(self, tmp_path: Path) -> None:
        values = np.arange(40.0)
        values[[17, 18, 15]] = np.nan
        dataset = make_dataset(tmp_path, values)
        found = forecast_seasonal(windows_at(dataset, 20), season=3)
        # Row 15 is missing too, and row 12 is the first of the window.
        assert unscale(dataset, found) == [14.0, 12.0, 19.0, 14.0]

    def test_goes_back_where_a_value_is_still_delayed(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, np.arange(40.0), delay="2h")
        found = forecast_seasonal(windows_at(dataset, 20), season=4)
        assert unscale(dataset, found) == [16.0, 17.0, 14.0, 15.0]

    def test_falls_back_to_the_last_value(self, tmp_path: Path) -> None:
        values = np.arange(40.0)
        values[[14, 15]] = np.nan
        dataset = make_dataset(tmp_path, values)
        found = forecast_seasonal(windows_at(dataset, 20), season=6)
        assert unscale(dataset, found) == [19.0, 19.0, 16.0, 17.0]

    def test_candidates_are_what_fits_into_the_context(self, tmp_path: Path) -> None:
        values = np.arange(600.0)
        for context, expected in {"1d": (24,), "7d": (24, 168), "23h": ()}.items():
            dataset = make_dataset(tmp_path, values, context_length=context)
            assert candidate_seasons(dataset.schema) == expected
        dataset = make_dataset(tmp_path, values, frequency="15min", context_length="1d")
        assert candidate_seasons(dataset.schema) == (4, 96)
        dataset = make_dataset(tmp_path, values, frequency="D", context_length=30)
        assert candidate_seasons(dataset.schema) == (7, 28)

    @pytest.mark.parametrize("season", [24, 168])
    def test_the_season_of_a_seasonal_series_is_found(self, tmp_path: Path, season: int) -> None:
        random = np.random.default_rng(0)
        hours = np.arange(24 * 7 * 10)
        values = random.normal(size=season)[hours % season] + random.normal(0, 0.1, len(hours))
        dataset = make_dataset(tmp_path, values, context_length="7d")
        assert choose_season(dataset.windows("validation")) == season

    def test_without_a_season_it_is_the_last_value(self, small_world: Dataset) -> None:
        windows = small_world.windows("test")
        season = choose_season(windows, candidates=())
        assert season == 1
        assert forecast_seasonal(windows, season).equal(forecast_last_value(windows))


class TestRidge:
    def test_finds_what_depends_linearly_on_the_known_future(self, small_world: Dataset) -> None:
        train, validation, test = map(small_world.windows, ("train", "validation", "test"))
        ridge = fit_ridge(train, validation, small_world.category_sizes)
        assert ridge.fit.config.reads == "all"
        target, observed = collect_targets(test)
        error = (ridge.forecast(test) - target)[observed].abs().mean()
        naive = (forecast_seasonal(test, 24) - target)[observed].abs().mean()
        # Noise of deviation 1, and so of mean size 0.8, is all that cannot be known.
        scale = small_world.scaling["load"].numbers["load"].scale
        assert 0.8 < float(error) * scale < 2.0
        assert error < 0.5 * naive


@pytest.mark.parametrize("has_leak", [False, True])
def test_no_baseline_sees_what_is_not_yet_known_and_a_planted_leak_is_found(
    small_world: Dataset, has_leak: bool
) -> None:
    train, validation = map(small_world.windows, ("train", "validation"))
    ridge = fit_ridge(train, validation, small_world.category_sizes)
    schema = small_world.schema
    if has_leak:
        leaky = schema.target.model_copy(update={"delay": -2 * schema.frequency})
        schema = schema.model_copy(update={"streams": {**schema.streams, "load": leaky}})
    found = []
    for frames in (make_frames(), overwrite_unknown(make_frames())):
        streams, items = load_streams(CONFIGS, schema, small_world.scaling, frames)
        places = torch.arange(len(items))
        windows = Windows(places, torch.full_like(places, MICROSECONDS))
        gatherer = WindowGatherer(schema, streams, windows)
        found.append(
            {
                "last value": forecast_last_value(gatherer),
                "seasonal naive": forecast_seasonal(gatherer, 5),
                "ridge": ridge.forecast(gatherer),
            }
        )
    true, noisy = found
    for name, forecast in true.items():
        assert forecast.equal(noisy[name]) != has_leak, name
