"""Coverage of every interval and level, beside what it should be, as table and picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmts.evaluation import (
    ALL_TARGETS,
    Evaluation,
    WindowForecasts,
    coverage_table,
    coverage_to_json,
    evaluate,
    load_evaluation_data,
    measure_coverage,
)
from mmts.forecasting import Forecaster
from mmts.plots import plot_quantile_coverage, to_png

LEVELS = ("0.05", "0.25", "0.5", "0.75", "0.95")


def make_windows(outputs: tuple[str, ...] = LEVELS) -> WindowForecasts:
    """Return 10 windows of 2 steps and 2 targets; what came is 0 to 9, the quantiles by level."""
    actual = np.broadcast_to(np.arange(10.0)[:, None, None], (10, 2, 2)).copy()
    numbers = [10 * float(output) if output != "mean" else 5.0 for output in outputs]
    observed = np.ones(actual.shape, dtype=bool)
    # Of the second target only what lies in the middle was seen.
    observed[:4, :, 1] = observed[6:, :, 1] = False
    return WindowForecasts(
        items=np.zeros(10, dtype=np.int64),
        origins=np.arange(10),
        forecast=np.broadcast_to(numbers, (10, 2, 2, len(outputs))).copy(),
        actual=actual,
        observed=observed,
        outputs=outputs,
    )


def test_every_pair_and_every_level_is_measured_on_what_was_observed() -> None:
    found = measure_coverage(make_windows(), ("a", "b"))
    assert list(found) == ["a", "b", ALL_TARGETS]
    spans = [(one.lower, one.upper) for one in found["a"]]
    assert spans == [(0.05, 0.95), (0.25, 0.75), *((None, float(level)) for level in LEVELS)]
    nominal = [one.nominal for one in found["a"]]
    np.testing.assert_allclose(nominal, [0.9, 0.5, 0.05, 0.25, 0.5, 0.75, 0.95])
    # 0 to 9 against 0.5 to 9.5, 2.5 to 7.5, and below each level.
    assert [one.observed for one in found["a"]] == [0.9, 0.5, 0.1, 0.3, 0.6, 0.8, 1.0]
    assert [one.observed for one in found["b"]][:2] == [1.0, 1.0]
    assert found[ALL_TARGETS][0].observed == pytest.approx((18 + 4) / 24)
    assert found["a"][0].by_step == (0.9, 0.9)


def test_a_point_forecast_has_no_coverage() -> None:
    found = measure_coverage(make_windows(("mean",)), ("a", "b"))
    assert not any(found.values())
    assert len(coverage_table(found)) == 0


def test_a_median_alone_is_measured_as_a_level() -> None:
    found = measure_coverage(make_windows(("0.5",)), ("a", "b"))
    assert [(one.lower, one.upper, one.observed) for one in found["a"]] == [(None, 0.5, 0.6)]


def test_steps_at_which_nothing_was_observed_are_not_defined() -> None:
    windows = make_windows()
    observed = windows.observed.copy()
    observed[:, 1] = False
    found = measure_coverage(replace(windows, observed=observed), ("a", "b"))
    assert np.isnan(found["a"][0].by_step[1])
    assert coverage_to_json(found)["a"][0]["by_step"][1] is None


def test_the_table_has_a_row_per_span_and_step_and_one_for_all_steps() -> None:
    table = coverage_table(measure_coverage(make_windows(), ("a", "b")))
    assert len(table) == 3 * 7 * 3
    overall = table[table["step"].isna()]
    assert list(overall["observed"][:2]) == [0.9, 0.5]
    assert set(table["step"].dropna()) == {1, 2}


@pytest.fixture(scope="module")
def evaluation(trained: Path) -> Evaluation:
    forecaster = Forecaster.from_checkpoint(trained)
    return evaluate(forecaster, load_evaluation_data(forecaster.info))


@pytest.mark.parametrize("outputs", [LEVELS, ("0.5",), ("0.5", "0.9")])
def test_the_picture_draws_what_there_is(evaluation: Evaluation, outputs: tuple[str, ...]) -> None:
    windows = make_windows(outputs)
    coverage = measure_coverage(windows, ("a", "b"))
    figure = plot_quantile_coverage(replace(evaluation, targets=("a", "b")), coverage)
    levels, steps = figure.axes[:2]
    drawn = np.asarray(levels.lines[1].get_xydata())
    expected = [(one.upper, one.observed) for one in coverage["a"] if one.lower is None]
    np.testing.assert_allclose(drawn, expected)
    labels = [line.get_label() for line in steps.lines]
    assert ("0.05 to 0.95: 90.0%, should be 90%" in labels) == (outputs == LEVELS)
    assert to_png(figure).startswith(b"\x89PNG")
