"""Calibration: quantiles hold what they say, never cross, and the median stays where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mmts.calibration.config import CalibrationConfig
from mmts.calibration.conformal import (
    AMPLE,
    Calibration,
    fit_factors,
    move_quantiles,
    resolve_by_step,
    windows_apart,
    windows_needed,
)
from mmts.calibration.fitting import calibrate
from mmts.checkpoint import load_checkpoint, save_checkpoint
from mmts.checkpoint_file import write_checkpoint_file
from mmts.config import load_config
from mmts.errors import CheckpointError, ConfigError, DataError
from mmts.evaluation import MODEL, evaluate, load_evaluation_data, measure_coverage
from mmts.experiment import train
from mmts.explanation.passes import explain
from mmts.forecasting import Forecaster
from mmts.linear.share import NetworkShare, Shares
from tests.conftest import Command
from tests.factories import make_settings, write_world
from tests.test_checkpoint import metadata_of, rewrite

ALL_STEPS = CalibrationConfig(by_step=False)
BY_STEP = CalibrationConfig(by_step=True)
LEVELS = (0.1, 0.5, 0.9)
OFFERED = NetworkShare([f"{level:g}" for level in LEVELS]).offered

Array = np.ndarray[Any, np.dtype[np.float64]]


def make_windows(
    num_windows: int = 4000, spread: float = 1.0, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Return quantiles of a standard normal, `spread` too wide, and values; windows, 3 steps."""
    random = np.random.default_rng(seed)
    scale = random.uniform(0.2, 5, (num_windows, 3, 1))
    actual = scale * random.normal(0, 1, (num_windows, 3, 1))
    quantiles = spread * scale[..., None] * np.array([-1.2816, 0, 1.2816])
    return quantiles, actual, np.ones(actual.shape, dtype=bool)


def shares_below(quantiles: Array, actual: Array) -> Array:
    found: Array = (actual[..., None] <= quantiles).mean(axis=(0, 1, 2))
    return found


class TestFactors:
    @pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
    @pytest.mark.parametrize("config", [ALL_STEPS, BY_STEP])
    def test_bands_of_any_width_get_the_share_they_name_on_later_windows(
        self, spread: float, config: CalibrationConfig
    ) -> None:
        quantiles, actual, observed = make_windows(spread=spread)
        blocks = np.arange(len(actual))
        factors = fit_factors(quantiles, actual, observed, blocks, LEVELS, config)
        assert factors.shape == (3 if config.by_step else 1, 1, 3)
        np.testing.assert_allclose(factors[..., [0, 2]], 1 / spread, rtol=0.1)
        later, came, _ = make_windows(spread=spread, seed=1)
        shares = shares_below(move_quantiles(later, LEVELS, factors), came)
        np.testing.assert_allclose(shares, LEVELS, atol=0.015)

    def test_factors_are_the_order_statistic_that_the_theorem_names(self) -> None:
        # Of 19 windows the level 0.9 takes the 18th, 0.9 * 20; of 9 it takes the largest.
        for count, rank in ((19, 18), (9, 9)):
            actual = np.arange(1.0, count + 1).reshape(-1, 1, 1)
            quantiles = np.broadcast_to([-1.0, 0.0, 1.0], (count, 1, 1, 3))
            observed = np.ones(actual.shape, dtype=bool)
            found = fit_factors(quantiles, actual, observed, np.arange(count), LEVELS, ALL_STEPS)
            assert found[0, 0, 2] == rank
            # All values lie above the median: the lower quantile needs no distance.
            assert found[0, 0, 0] == 0

    def test_a_level_without_a_partner_is_calibrated_by_itself(self) -> None:
        quantiles, actual, observed = make_windows(spread=2.0)
        blocks = np.arange(len(actual))
        both = fit_factors(quantiles, actual, observed, blocks, LEVELS, ALL_STEPS)
        alone = fit_factors(quantiles[..., 1:], actual, observed, blocks, (0.5, 0.9), ALL_STEPS)
        assert alone[0, 0, 1] == both[0, 0, 2]

    def test_only_widen_never_narrows(self) -> None:
        config = CalibrationConfig(by_step=False, only_widen=True)
        for spread, narrows in ((0.5, False), (3.0, True)):
            quantiles, actual, observed = make_windows(spread=spread)
            blocks = np.arange(len(actual))
            free = fit_factors(quantiles, actual, observed, blocks, LEVELS, ALL_STEPS)
            found = fit_factors(quantiles, actual, observed, blocks, LEVELS, config)
            assert np.array_equal(found, np.ones_like(found) if narrows else free)

    def test_values_that_are_missing_do_not_count(self) -> None:
        quantiles, actual, observed = make_windows()
        hidden = observed & (np.arange(len(actual)) % 2 == 0)[:, None, None]
        spoilt = np.where(hidden, actual, 1e9)
        blocks = np.arange(len(actual))
        found = fit_factors(quantiles, spoilt, hidden, blocks, LEVELS, BY_STEP)
        kept = slice(None, None, 2)
        expected = fit_factors(
            quantiles[kept], actual[kept], observed[kept], blocks[kept], LEVELS, BY_STEP
        )
        assert np.array_equal(found, expected)

    def test_too_few_windows_apart_are_refused_however_many_overlap(self) -> None:
        quantiles, actual, observed = make_windows(200)
        blocks = np.arange(200) // 40
        with pytest.raises(DataError, match=r"0\.1 .* at least 9 windows .* the split has 5\."):
            fit_factors(quantiles, actual, observed, blocks, LEVELS, ALL_STEPS)

    def test_a_step_that_is_hardly_observed_is_named(self) -> None:
        quantiles, actual, observed = make_windows(200)
        observed[5:, 1] = False
        with pytest.raises(DataError, match=r"step 2: the quantile 0\.1 cannot be calibrated"):
            fit_factors(quantiles, actual, observed, np.arange(200), LEVELS, BY_STEP)
        fit_factors(quantiles, actual, observed, np.arange(200), LEVELS, ALL_STEPS)

    def test_quantiles_on_the_median_cannot_be_moved_and_are_refused(self) -> None:
        quantiles, actual, observed = make_windows(200)
        quantiles[::2] = 0.0
        with pytest.raises(DataError, match="puts it where the median is"):
            fit_factors(quantiles, actual, observed, np.arange(200), LEVELS, ALL_STEPS)

    def test_windows_apart_are_counted_per_item(self) -> None:
        items = np.array([0, 0, 0, 0, 1, 1])
        origins = np.array([0, 1, 5, 6, 0, 13])
        found = windows_apart(items, origins, 6)
        assert found[0] == found[1] == found[2]
        assert len(np.unique(found)) == 4

    def test_windows_needed_grow_with_the_level(self) -> None:
        levels = (0.1, 0.9, 0.5, 0.05, 0.95, 0.99)
        assert [windows_needed(level) for level in levels] == [9, 9, 1, 19, 19, 99]

    def test_steps_get_factors_of_their_own_where_there_are_plenty_of_windows(self) -> None:
        auto = CalibrationConfig()
        assert resolve_by_step(auto, AMPLE * 9, LEVELS).by_step is True
        assert resolve_by_step(auto, AMPLE * 9 - 1, LEVELS).by_step is False
        assert resolve_by_step(BY_STEP, 1, LEVELS) == BY_STEP


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[Array, tuple[float, ...], Array]:
    """Draw quantiles that do not cross, their levels, and factors."""
    outer = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 0.95, 0.99])
    levels = tuple(sorted({0.5, *draw(st.lists(outer, max_size=8))}))
    number = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)
    drawn = draw(st.lists(number, min_size=2 * len(levels), max_size=2 * len(levels)))
    quantiles = np.sort(np.array(drawn).reshape(2, 1, 1, len(levels)), axis=-1)
    size = st.lists(st.floats(0, 50), min_size=len(levels), max_size=len(levels))
    return quantiles, levels, np.array(draw(size)).reshape(1, 1, -1)


class TestNoCrossing:
    @settings(max_examples=300, deadline=None)
    @given(forecasts())
    def test_calibrated_quantiles_never_cross_and_the_median_stays(
        self, drawn: tuple[Array, tuple[float, ...], Array]
    ) -> None:
        quantiles, levels, factors = drawn
        moved = move_quantiles(quantiles, levels, factors)
        assert (np.diff(moved, axis=-1) >= 0).all()
        middle = levels.index(0.5)
        assert np.array_equal(moved[..., middle], quantiles[..., middle])
        # Nothing covers less than its own factor says.
        distance = np.abs(quantiles - quantiles[..., [middle]]) * factors
        assert (np.abs(moved - moved[..., [middle]]) >= distance * (1 - 1e-9) - 1e-6).all()

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**31), st.booleans(), st.sampled_from(OFFERED))
    def test_a_model_with_any_weights_gives_quantiles_in_order(
        self, calibrated: Path, seed: int, linear: bool, shares: Shares
    ) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in forecaster.model.parameters():
                weight.copy_(3 * torch.randn(weight.shape, generator=generator))
            path = forecaster.model.linear
            assert path is not None
            # As they are fitted: quantiles of residuals, which rise with their level.
            drawn = torch.randn(path.quantiles.shape, generator=generator) * linear
            path.quantiles.copy_(drawn.sort(dim=-1).values)
            forecaster.model.network_share.chosen.copy_(torch.tensor(shares))
        windows = load_evaluation_data(forecaster.info).windows("test")
        for one in (forecaster, forecaster.without_calibration()):
            assert (np.diff(one.predict_windows(windows), axis=-1) >= 0).all()


@pytest.fixture(scope="module")
def calibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained checkpoint, calibrated."""
    forecaster = Forecaster.from_checkpoint(trained)
    found, _ = calibrate(forecaster, load_evaluation_data(forecaster.info), CalibrationConfig())
    path = tmp_path_factory.mktemp("calibrated") / "calibrated.mmts"
    save_checkpoint(path, found.info, found.model.state_dict())
    return path


class TestCheckpoint:
    def test_it_reads_back_and_can_be_left_aside(self, trained: Path, calibrated: Path) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        found = forecaster.info.calibration
        assert found is not None
        assert found.factors.shape == (1, 1, 3)
        assert (found.factors[..., [0, 2]] != 1).all()
        sources = forecaster.default_sources()
        plain = Forecaster.from_checkpoint(trained).predict(sources)
        moved = forecaster.predict(sources)
        assert moved["0.5"].equals(plain["0.5"])
        assert not moved["0.1"].equals(plain["0.1"])
        left = Forecaster.from_checkpoint(calibrated, calibrated=False).predict(sources)
        pd.testing.assert_frame_equal(left, plain)
        for level, place in (("0.1", 0), ("0.9", 2)):
            expected = plain["0.5"] + found.factors[0, 0, place] * (plain[level] - plain["0.5"])
            np.testing.assert_allclose(moved[level], expected)

    def test_every_command_reads_the_same_quantiles(self, calibrated: Path) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        dataset = load_evaluation_data(forecaster.info)
        evaluation = evaluate(forecaster, dataset, "validation")
        windows = evaluation.windows
        direct = forecaster.predict_windows(dataset.windows("validation"))
        assert np.array_equal(windows.forecast, direct)
        wql = explain(forecaster, dataset, "validation", "wql").value
        plain = explain(forecaster.without_calibration(), dataset, "validation", "wql").value
        assert wql == pytest.approx(evaluation.scores[MODEL]["load"].overall.wql) != plain

    def test_calibrating_twice_is_the_same_as_once(self, calibrated: Path) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        dataset = load_evaluation_data(forecaster.info)
        again, report = calibrate(forecaster, dataset, CalibrationConfig())
        assert forecaster.info.calibration is not None
        assert np.array_equal(report.calibration.factors, forecaster.info.calibration.factors)
        assert again.info.calibration == report.calibration

    @pytest.mark.parametrize("fault", ["negative", "shape", "nan", "missing", "extra"])
    def test_factors_that_do_not_fit_are_refused(
        self, trained: Path, calibrated: Path, tmp_path: Path, fault: str
    ) -> None:
        name, path = "calibration/factors", tmp_path / "faulty.mmts"
        tensors = load_file(calibrated)
        match fault:
            case "negative":
                tensors[name][0, 0, 0] = -1.0
            case "shape":
                tensors[name] = tensors[name].repeat(2, 1, 1)
            case "nan":
                tensors[name][0, 0, 0] = torch.nan
            case "missing":
                del tensors[name]
        source = trained if fault == "extra" else calibrated
        write_checkpoint_file(path, metadata_of(source), tensors)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)

    def test_a_calibration_of_a_model_without_quantiles_is_refused(
        self, calibrated: Path, tmp_path: Path
    ) -> None:
        config = metadata_of(calibrated)["config"]
        config["model"]["head"] = {"kind": "point", "dim": 16}
        with pytest.raises(CheckpointError, match="no quantiles that it could move"):
            load_checkpoint(rewrite(calibrated, tmp_path / "point.mmts", config=config))

    def test_what_is_kept_in_the_description_has_no_arrays(self) -> None:
        calibration = Calibration(config=ALL_STEPS, num_windows=3, num_apart=2)
        assert set(calibration.model_dump()) == {"config", "num_windows", "num_apart"}


class TestFitting:
    def test_no_value_of_the_test_split_is_read(self, calibrated: Path) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        dataset = load_evaluation_data(forecaster.info)
        _, report = calibrate(forecaster, dataset, CalibrationConfig())
        load = dataset.streams["load"]
        for item in range(len(dataset.items)):
            late = load.times(item) >= dataset.split.test
            load.history(item)[late] = 1e6
        _, again = calibrate(forecaster, dataset, CalibrationConfig())
        assert np.array_equal(report.calibration.factors, again.calibration.factors)

    def test_shares_on_validation_come_near_to_what_they_should_be(self, calibrated: Path) -> None:
        forecaster = Forecaster.from_checkpoint(calibrated)
        dataset = load_evaluation_data(forecaster.info)
        _, report = calibrate(forecaster, dataset, CalibrationConfig())
        # At least the level, and beyond it by no more than the correction and ties bring.
        num_apart = report.calibration.num_apart
        assert 0.9 <= report.after.below[2] <= 0.9 * (num_apart + 1) / num_apart + 0.02
        windows = evaluate(forecaster, dataset, "validation").windows
        coverage = measure_coverage(windows, ("load",))["load"]
        # The quantiles were set to end at one of the values, which rounding puts in or out.
        one_value = 1 / windows.observed.sum()
        assert coverage[0].observed == pytest.approx(report.after.coverage, abs=one_value)

    def test_a_point_forecast_cannot_be_calibrated(self, tmp_path: Path) -> None:
        settings = make_settings()
        settings["model"]["head"] = {"kind": "point"}
        settings["calibration"] = {"kind": "conformal"}
        with pytest.raises(ConfigError, match="no quantile but the median"):
            load_config(write_world(tmp_path, settings))


def test_calibrate_and_its_switches_work_as_commands(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.mmts"
    done = mmts("calibrate", trained, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "should lie below" in done.stdout
    plain = tmp_path / "plain.csv"
    assert mmts("forecast", output, "--output", plain, "--uncalibrated").returncode == 0
    forecaster = Forecaster.from_checkpoint(trained)
    expected = forecaster.predict(forecaster.default_sources())
    assert plain.read_text() == expected.to_csv(index=False)
    done = mmts("evaluate", output, "--output", tmp_path / "evaluation")
    assert done.returncode == 0, done.stderr
    assert "quantiles calibrated on validation, 2024-01-12" in done.stdout
    assert "(3 levels)" in done.stdout
    assert (tmp_path / "evaluation/coverage.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_calibrates_what_it_keeps(tmp_path: Path) -> None:
    config = load_config(write_world(tmp_path / "world", make_settings()), ["calibration={}"])
    checkpoint = train(config, tmp_path / "run").checkpoint
    found = Forecaster.from_checkpoint(checkpoint).info
    assert found.config.calibration == CalibrationConfig()
    assert found.calibration is not None


def test_a_split_that_is_too_short_is_refused_before_the_training(tmp_path: Path) -> None:
    changes = ["calibration={}", "model.head.quantile_levels=[0.01, 0.5]"]
    config = load_config(write_world(tmp_path / "world", make_settings()), changes)
    with pytest.raises(DataError, match="take at least 99 windows of the validation split"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
