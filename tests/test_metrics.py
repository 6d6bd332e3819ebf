"""Measures against values by hand and by scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, root_mean_squared_error

from mmts import metrics

SHAPE = (20, 6, 2)


@pytest.fixture
def actual() -> np.ndarray:
    return np.random.default_rng(0).normal(5, 2, SHAPE)


@pytest.fixture
def forecast() -> np.ndarray:
    return np.random.default_rng(1).normal(5, 2, SHAPE)


@pytest.fixture
def observed() -> np.ndarray:
    return np.random.default_rng(2).random(SHAPE) < 0.7


def test_mae_and_rmse_equal_those_of_scikit_learn_over_observed_values(
    forecast: np.ndarray, actual: np.ndarray, observed: np.ndarray
) -> None:
    pair = actual[observed], forecast[observed]
    actual[~observed] = np.nan
    ours = metrics.mean_absolute_error(forecast, actual, observed)
    assert ours == pytest.approx(mean_absolute_error(*pair))
    ours = metrics.root_mean_squared_error(forecast, actual, observed)
    assert ours == pytest.approx(root_mean_squared_error(*pair))


def test_a_measure_by_step_is_that_of_the_step_alone(
    forecast: np.ndarray, actual: np.ndarray, observed: np.ndarray
) -> None:
    by_step = [
        metrics.mean_absolute_error(forecast[:, s], actual[:, s], observed[:, s])
        for s in range(SHAPE[1])
    ]
    counts = observed.sum(axis=(0, 2))
    overall = metrics.mean_absolute_error(forecast, actual, observed)
    assert overall == pytest.approx(np.average(by_step, weights=counts))


def test_sums_are_in_double_precision() -> None:
    actual = np.full(3, 1e8, dtype=np.float32)
    forecast = actual + np.float32(8)
    everywhere = np.ones(3, dtype=bool)
    assert metrics.root_mean_squared_error(forecast, actual, everywhere) == 8.0


def test_the_scale_of_mase_is_the_seasonal_naive_error_of_the_series() -> None:
    values = np.array([1.0, 10.0, 2.0, 13.0, 4.0, 17.0])
    observed = np.ones(6, dtype=bool)
    assert metrics.seasonal_naive_scale(values, observed, 2) == pytest.approx((1 + 3 + 2 + 4) / 4)
    assert metrics.seasonal_naive_scale(values, observed, 1) == pytest.approx(
        (9 + 8 + 11 + 9 + 13) / 5
    )


def test_the_scale_of_mase_counts_pairs_of_observed_values_only() -> None:
    values = np.array([1.0, 10.0, 2.0, np.nan, 4.0, 17.0])
    observed = np.isfinite(values)
    assert metrics.seasonal_naive_scale(values, observed, 2) == pytest.approx((1 + 2) / 2)


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [1.0], [1.0, np.nan, np.nan]])
def test_a_series_that_repeats_itself_or_has_no_pair_gives_no_scale(values: list[float]) -> None:
    found = np.array(values)
    assert math.isnan(metrics.seasonal_naive_scale(found, np.isfinite(found), 1))


def test_mase_divides_by_the_scale_of_each_series_and_leaves_out_those_without() -> None:
    actual = np.zeros((3, 2, 1))
    forecast = np.array([[2.0, 4.0], [30.0, 50.0], [7.0, 7.0]])[..., None]
    scale = np.array([2.0, 10.0, np.nan])[:, None, None]
    observed = np.ones(actual.shape, dtype=bool)
    found = metrics.mean_absolute_scaled_error(forecast, actual, observed, scale)
    assert found == pytest.approx((1 + 2 + 3 + 5) / 4)
    observed[1] = False
    found = metrics.mean_absolute_scaled_error(forecast, actual, observed, scale)
    assert found == pytest.approx((1 + 2) / 2)


def test_seasonal_naive_has_a_mase_of_one_on_its_own_series() -> None:
    series = np.random.default_rng(3).normal(size=50)
    scale = np.array(metrics.seasonal_naive_scale(series, np.ones(50, dtype=bool), 7))
    observed = np.ones(43, dtype=bool)
    found = metrics.mean_absolute_scaled_error(series[:-7], series[7:], observed, scale)
    assert found == pytest.approx(1.0)


def test_wql_is_twice_the_pinball_loss_over_the_size_of_the_values(
    actual: np.ndarray, observed: np.ndarray
) -> None:
    levels = (0.1, 0.5, 0.9)
    quantiles = np.random.default_rng(4).normal(5, 2, (*SHAPE, 3))
    truth = actual[observed]
    size = np.abs(truth).mean()
    by_level = [
        2 * mean_pinball_loss(truth, quantiles[observed][:, i], alpha=level) / size
        for i, level in enumerate(levels)
    ]
    ours = metrics.weighted_quantile_loss(quantiles, actual, observed, levels)
    assert ours == pytest.approx(np.mean(by_level))


def test_a_point_forecast_counts_at_every_level(
    forecast: np.ndarray, actual: np.ndarray, observed: np.ndarray
) -> None:
    levels = (0.2, 0.7)
    repeated = np.stack([forecast, forecast], axis=-1)
    assert metrics.weighted_quantile_loss(
        forecast, actual, observed, levels
    ) == metrics.weighted_quantile_loss(repeated, actual, observed, levels)


def test_wql_at_the_median_is_the_absolute_error_over_the_size(
    forecast: np.ndarray, actual: np.ndarray, observed: np.ndarray
) -> None:
    ours = metrics.weighted_quantile_loss(forecast, actual, observed, (0.5,))
    error = metrics.mean_absolute_error(forecast, actual, observed)
    assert ours == pytest.approx(error / np.abs(actual[observed]).mean())


def test_crps_by_quantiles_is_twice_the_mean_pinball_loss(
    actual: np.ndarray, observed: np.ndarray
) -> None:
    levels = (0.1, 0.5, 0.9)
    quantiles = np.random.default_rng(4).normal(5, 2, (*SHAPE, 3))
    by_level = [
        2 * mean_pinball_loss(actual[observed], quantiles[observed][:, i], alpha=level)
        for i, level in enumerate(levels)
    ]
    ours = metrics.crps_by_quantiles(quantiles, actual, observed, levels)
    assert ours == pytest.approx(np.mean(by_level))
    size = np.abs(actual[observed]).mean()
    wql = metrics.weighted_quantile_loss(quantiles, actual, observed, levels)
    assert ours == pytest.approx(wql * size)


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9), (0.05, 0.2, 0.8, 0.95)])
def test_crps_of_a_point_forecast_is_its_absolute_error(
    forecast: np.ndarray, actual: np.ndarray, observed: np.ndarray, levels: tuple[float, ...]
) -> None:
    ours = metrics.crps_by_quantiles(forecast, actual, observed, levels)
    assert ours == pytest.approx(metrics.mean_absolute_error(forecast, actual, observed))


def test_crps_of_many_quantiles_comes_near_to_the_exact_one() -> None:
    # Of a standard normal at its median: 2 phi(0) - 1 / sqrt(pi) (Gneiting and Raftery, 2007).
    levels = (np.arange(999) + 0.5) / 999
    quantiles = norm.ppf(levels)[None, None, None, :]
    value, observed = np.zeros((1, 1, 1)), np.ones((1, 1, 1), dtype=bool)
    exact = 2 / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi)
    ours = metrics.crps_by_quantiles(quantiles, value, observed, list(levels))
    assert ours == pytest.approx(exact, rel=1e-2)
    # And three levels tell so little of it that nobody may take the one for the other.
    few = metrics.crps_by_quantiles(
        quantiles[..., [99, 499, 899]], value, observed, (0.1, 0.5, 0.9)
    )
    assert abs(few / exact - 1) > 0.2


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0.1, 0.5, 0.9), [(0, 2)]),
        ((0.05, 0.25, 0.5, 0.75, 0.9, 0.95), [(0, 5), (1, 3)]),
        ((0.5, 0.9), []),
    ],
)
def test_symmetric_intervals_come_widest_first(
    levels: tuple[float, ...], expected: list[tuple[int, int]]
) -> None:
    assert metrics.symmetric_intervals(levels) == expected


def test_coverage_is_the_share_inside_the_interval() -> None:
    actual = np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    lower, upper = np.full(5, 1.0), np.full(5, 3.0)
    observed = np.array([True, True, True, True, False])
    assert metrics.interval_coverage(lower, upper, actual, observed) == 0.75


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0.1, 0.5, 0.9), (0, 2)),
        ((0.05, 0.1, 0.5, 0.9), (1, 3)),
        ((0.9, 0.05, 0.95, 0.1), (1, 2)),
        ((0.5,), None),
        ((0.1, 0.5), None),
        ((), None),
    ],
)
def test_the_interval_is_the_outermost_symmetric_pair(
    levels: tuple[float, ...], expected: tuple[int, int] | None
) -> None:
    assert metrics.outermost_interval(levels) == expected


def test_measures_of_nothing_are_not_numbers(forecast: np.ndarray, actual: np.ndarray) -> None:
    nowhere = np.zeros(SHAPE, dtype=bool)
    zero = np.zeros(SHAPE)
    everywhere = np.ones(SHAPE, dtype=bool)
    for found in (
        metrics.mean_absolute_error(forecast, actual, nowhere),
        metrics.root_mean_squared_error(forecast, actual, nowhere),
        metrics.mean_absolute_scaled_error(forecast, actual, nowhere, np.array(1.0)),
        metrics.weighted_quantile_loss(forecast, actual, nowhere, (0.5,)),
        metrics.weighted_quantile_loss(forecast, zero, everywhere, (0.5,)),
        metrics.interval_coverage(zero, zero, actual, nowhere),
    ):
        assert math.isnan(found)
