"""Baselines: what they repeat, what they never see, and ridge against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from mmts.baselines import least_squares
from mmts.baselines.features import WindowFeatures
from mmts.baselines.least_squares import RidgeProblem
from mmts.baselines.naive import (
    candidate_seasons,
    choose_season,
    forecast_last_value,
    forecast_seasonal,
)
from mmts.baselines.ridge import PENALTIES, fit_ridge
from mmts.baselines.ridge_forms import (
    ALL_FROM_LAST,
    ALL_FROM_TRAIN,
    FORMS,
    OWN_FROM_LAST,
    RidgeForm,
)
from mmts.baselines.targets import collect_targets
from mmts.config import load_config
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset, load_streams
from mmts.data.gathering import WindowGatherer
from mmts.data.windows import Windows
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


def make_problem(num_rows: int, num_features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make features, targets and masks of six outputs: runs, noise, a mask twice, one empty."""
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (num_rows, num_features))
    features -= features.mean(axis=0)
    targets = features @ random.normal(size=(num_features, 6)) + random.normal(2, 1, (num_rows, 6))
    observed = np.ones((num_rows, 6), dtype=bool)
    observed[: num_rows // 3, 1] = False
    observed[num_rows // 9 : num_rows // 2, 2] = False
    observed[:, 3] = random.random(num_rows) < 0.7
    observed[:, 4] = observed[:, 1]
    observed[:, 5] = False
    return features, np.where(observed, targets, 0.0), observed


class TestRidge:
    @pytest.mark.parametrize("shape", [(200, 30), (60, 150), (50, 50)])
    @pytest.mark.parametrize("is_double", [True, False])
    def test_maps_equal_those_of_scikit_learn_on_the_rows_observed(
        self, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], is_double: bool
    ) -> None:
        monkeypatch.setattr(least_squares, "CHUNK", 32)
        monkeypatch.setattr(least_squares, "BLOCK", 8)
        monkeypatch.setattr(least_squares, "MAX_DOUBLE", 1500 if is_double else 0)
        features, targets, observed = make_problem(*shape)
        rows = torch.from_numpy(features)
        problem = RidgeProblem(
            rows.__getitem__, torch.from_numpy(targets), torch.from_numpy(observed)
        )
        penalties = (0.01, 1.0)
        maps = problem.solve(penalties)
        for place, penalty in enumerate(penalties):
            for output in range(5):
                own = observed[:, output]
                theirs = Ridge(alpha=penalty * own.sum()).fit(features[own], targets[own, output])
                np.testing.assert_allclose(
                    maps.weights[place, :, output], theirs.coef_, rtol=1e-4, atol=1e-4
                )
                assert float(maps.intercepts[place, output]) == pytest.approx(
                    theirs.intercept_, abs=1e-4
                )

    def test_an_output_that_is_never_observed_is_mapped_to_zero(self) -> None:
        features, targets, observed = (torch.from_numpy(part) for part in make_problem(40, 5))
        maps = RidgeProblem(features.__getitem__, targets, observed).solve([0.1])
        assert not maps.weights[0, :, 5].any()
        assert not maps.intercepts[0, 5].any()

    def test_some_outputs_can_be_solved_alone(self) -> None:
        features, targets, observed = (torch.from_numpy(part) for part in make_problem(40, 5))
        problem = RidgeProblem(features.__getitem__, targets, observed)
        some, every = problem.solve([0.1], torch.tensor([1, 3])), problem.solve([0.1])
        torch.testing.assert_close(some.weights[..., [1, 3]], every.weights[..., [1, 3]])
        assert not some.weights[..., [0, 2, 4]].any()

    def test_a_penalty_too_small_to_solve_for_gives_no_numbers(self) -> None:
        features = torch.ones(40, 3, dtype=torch.float64)
        targets = torch.randn(40, 1, dtype=torch.float64, generator=torch.manual_seed(0))
        problem = RidgeProblem(features.__getitem__, targets, torch.ones(40, 1, dtype=torch.bool))
        maps = problem.solve([0.0, 1.0])
        assert maps.weights[0].isnan().all()
        assert maps.weights[1].isfinite().all()

    def test_finds_what_depends_linearly_on_the_known_future(self, small_world: Dataset) -> None:
        train, validation, test = map(small_world.windows, ("train", "validation", "test"))
        ridge = fit_ridge(train, validation, small_world.scaling)
        assert ridge.penalty in PENALTIES
        target, observed = collect_targets(test)
        error = (ridge.forecast(test) - target)[observed].abs().mean()
        naive = (forecast_seasonal(test, 24) - target)[observed].abs().mean()
        # Noise of deviation 1, and so of mean size 0.8, is all that cannot be known.
        scale = small_world.scaling["load"].numbers["load"].scale
        assert 0.8 < float(error) * scale < 2.0
        assert error < 0.5 * naive

    def test_the_penalty_is_the_best_on_the_validation_split(
        self, small_world: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train, validation = map(small_world.windows, ("train", "validation"))
        target, observed = collect_targets(validation)
        errors = {}
        for penalty in PENALTIES:
            monkeypatch.setattr("mmts.baselines.ridge.PENALTIES", (penalty,))
            forecast = fit_ridge(train, validation, small_world.scaling).forecast(validation)
            errors[penalty] = float((forecast - target)[observed].square().mean())
        monkeypatch.undo()
        chosen = fit_ridge(train, validation, small_world.scaling).penalty
        assert chosen == min(errors, key=lambda penalty: errors[penalty])

    def test_gathering_again_gives_the_same_as_keeping_the_features(
        self, small_world: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train, validation = map(small_world.windows, ("train", "validation"))
        kept = fit_ridge(train, validation, small_world.scaling)
        monkeypatch.setattr("mmts.baselines.ridge.MAX_KEPT_NUMBERS", 0)
        gathered = fit_ridge(train, validation, small_world.scaling)
        assert kept.weights.equal(gathered.weights)

    def test_features_that_never_vary_are_dropped(self, small_world: Dataset) -> None:
        train, validation = map(small_world.windows, ("train", "validation"))
        ridge = fit_ridge(train, validation, small_world.scaling)
        features = WindowFeatures(small_world.schema, small_world.scaling)
        rows = torch.cat([features(batch) for batch in train.batches(64)])
        varying = rows.amax(dim=0) > rows.amin(dim=0)
        assert len(ridge.kept) == int(varying.sum()) < rows.shape[1]


class TestFeatures:
    def test_every_code_has_a_column_and_the_unseen_one_too(self, small_world: Dataset) -> None:
        batch = next(iter(small_world.windows("test").batches(1)))
        schema = small_world.schema
        expected = 0
        for name, stream in schema.streams.items():
            sizes = [len(v) + 1 for v in small_world.scaling[name].vocabularies.values()]
            numbers = len(stream.columns) - len(sizes)
            ages = 0 if stream.is_static else 1 if stream.is_regular else stream.num_steps
            expected += stream.num_steps * (numbers + sum(sizes) + len(stream.columns)) + ages
        rows = WindowFeatures(schema, small_world.scaling)(batch)
        assert rows.shape == (1, expected)
        assert rows.isfinite().all()

    def test_an_absent_stream_is_all_zero(self, small_world: Dataset) -> None:
        frames = make_frames()
        del frames["weather"]
        schema, scaling = small_world.schema, small_world.scaling
        streams, _ = load_streams(CONFIGS, schema, scaling, frames)
        windows = Windows(torch.tensor([0, 1]), torch.tensor([MICROSECONDS] * 2))
        batch = WindowGatherer(schema, streams, windows).gather(torch.arange(2))
        of_weather = schema.model_copy(update={"streams": {"weather": schema.streams["weather"]}})
        assert not WindowFeatures(of_weather, scaling)(batch).any()
        rows = WindowFeatures(schema, scaling)(batch)
        assert rows.any()
        assert rows.abs().max() < 20


@pytest.mark.parametrize("has_leak", [False, True])
def test_no_baseline_sees_what_is_not_yet_known_and_a_planted_leak_is_found(
    small_world: Dataset, has_leak: bool
) -> None:
    train, validation = map(small_world.windows, ("train", "validation"))
    ridge = fit_ridge(train, validation, small_world.scaling)
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


def make_channels(folder: Path, num_targets: int = 10) -> Dataset:
    """Make many series that all follow one rule of their own past, each at a level of its own."""
    random = np.random.default_rng(0)
    values = np.zeros((120, num_targets))
    for step in range(2, len(values)):
        noise = 0.1 * random.normal(size=num_targets)
        values[step] = 1.2 * values[step - 1] - 0.5 * values[step - 2] + noise
    names = [f"series{place}" for place in range(num_targets)]
    frame = pd.DataFrame(values + 10 * np.arange(num_targets), columns=names)
    frame.insert(0, "time", pd.date_range(START, periods=len(frame), freq="h"))
    frame.to_csv(folder / "values.csv", index=False)
    stream = {"path": "values.csv", "time": "time", "target": names, "context_length": 12}
    config = DataConfig.model_validate(
        {"root": str(folder), "horizon": 3, "streams": {"load": stream}}
    )
    return load_dataset(config)


class TestRidgeForms:
    def test_targets_that_follow_one_rule_share_a_map(self, tmp_path: Path) -> None:
        dataset = make_channels(tmp_path)
        train, validation, test = map(dataset.windows, ("train", "validation", "test"))
        chosen = fit_ridge(train, validation, dataset.scaling)
        assert chosen.form.reads == "own"
        assert chosen.weights.shape[1] == 3
        target, observed = collect_targets(test)
        joint = fit_ridge(train, validation, dataset.scaling, [ALL_FROM_TRAIN])
        errors = [
            (fit.forecast(test) - target)[observed].square().mean() for fit in (chosen, joint)
        ]
        assert errors[0] < errors[1]
        assert chosen.validation_error < joint.validation_error

    def test_a_shared_map_equals_that_of_scikit_learn_on_all_targets_at_once(
        self, tmp_path: Path
    ) -> None:
        dataset = make_channels(tmp_path)
        train, test = dataset.windows("train"), dataset.windows("test")
        fit = fit_ridge(train, test, dataset.scaling, [OWN_FROM_LAST], [0.01])
        batch = train.gather(torch.arange(len(train)))
        past = batch.streams["load"].values.permute(0, 2, 1).reshape(-1, 12).double().numpy()
        ahead = batch.target.permute(0, 2, 1).reshape(-1, 3).double().numpy()
        last = past[:, -1:]
        # The last value less itself never varies.
        theirs = Ridge(alpha=0.01 * len(past)).fit((past - last)[:, :-1], ahead - last)
        np.testing.assert_allclose(fit.weights.T, theirs.coef_, rtol=1e-3, atol=1e-4)

    def test_relative_to_the_last_value_a_large_penalty_repeats_it(self, tmp_path: Path) -> None:
        dataset = make_channels(tmp_path)
        train, test = dataset.windows("train"), dataset.windows("test")
        last = forecast_last_value(test)
        for form in (OWN_FROM_LAST, ALL_FROM_LAST):
            forecast = fit_ridge(train, test, dataset.scaling, [form], [1e9]).forecast(test)
            # What is left is the mean step away from the last value, the same in all windows.
            assert (forecast - last).std(dim=0).max() < 1e-4

    @pytest.mark.parametrize("form", FORMS, ids=str)
    def test_no_form_sees_what_is_not_yet_known(
        self, small_world: Dataset, form: RidgeForm
    ) -> None:
        train, validation = map(small_world.windows, ("train", "validation"))
        ridge = fit_ridge(train, validation, small_world.scaling, [form], [0.1])
        found = []
        for frames in (make_frames(), overwrite_unknown(make_frames())):
            streams, items = load_streams(CONFIGS, small_world.schema, small_world.scaling, frames)
            places = torch.arange(len(items))
            windows = Windows(places, torch.full_like(places, MICROSECONDS))
            found.append(ridge.forecast(WindowGatherer(small_world.schema, streams, windows)))
        assert found[0].equal(found[1])

    def test_the_form_is_the_best_on_the_validation_split(self, small_world: Dataset) -> None:
        train, validation = map(small_world.windows, ("train", "validation"))
        errors = {
            form: fit_ridge(train, validation, small_world.scaling, [form]).validation_error
            for form in FORMS
        }
        chosen = fit_ridge(train, validation, small_world.scaling)
        assert chosen.form == min(errors, key=lambda form: errors[form])
        assert chosen.validation_error == pytest.approx(errors[chosen.form])
