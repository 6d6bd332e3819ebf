"""Pictures: what is drawn, that it can be read, and that nothing global is touched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from mmts.data.dataset import Dataset
from mmts.errors import DataError
from mmts.evaluation import Evaluation, evaluate
from mmts.forecasting import Forecaster
from mmts.plots import (
    extract_history,
    forecast_picture,
    plot_error_by_step,
    plot_forecast,
    plot_learning,
    plot_test_windows,
    to_png,
)
from mmts.run_folders.history import Epoch
from tests.factories import START, make_frames
from tests.test_house import loaded_after

ORIGIN = START + pd.Timedelta(days=12, hours=7)
SUNDAY = START + pd.Timedelta(days=13)


def make_tables(
    items: list[str],
    targets: tuple[str, ...] = ("load",),
    outputs: tuple[str, ...] = ("0.1", "0.5", "0.9"),
    frequency: str = "h",
    origins: list[pd.Timestamp] | None = None,
    horizon: int = 12,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a forecast and the history of each series, with gaps, as text in UTC."""
    random = np.random.default_rng(0)
    forecast, history = [], []
    for place, item in enumerate(items):
        origin = ORIGIN if origins is None else origins[place]
        steps = pd.date_range(origin, periods=horizon, freq=frequency)
        past = pd.date_range(end=steps[0], periods=3 * horizon + 1, freq=frequency)[:-1]
        for target in targets:
            level = random.normal(size=horizon).cumsum()
            table = {
                "item_id": item,
                "origin": origin.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "timestamp": steps.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "step": np.arange(1, horizon + 1),
                "target": target,
            }
            table |= {o: level + (0 if o == "mean" else float(o) - 0.5) for o in outputs}
            forecast.append(pd.DataFrame(table))
            values = random.normal(size=len(past)).cumsum()
            values[random.random(len(past)) < 0.2] = np.nan
            stamps = past.strftime("%Y-%m-%dT%H:%M:%SZ")
            history.append(
                pd.DataFrame(
                    {"item_id": item, "timestamp": stamps, "target": target, "value": values}
                )
            )
    return pd.concat(forecast, ignore_index=True), pd.concat(history, ignore_index=True)


def assert_readable(figure: Figure) -> None:
    """Check that every panel has a name and that no two labels of its axes touch."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        assert axes.get_ylabel() or axes.get_title(loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                tick.label1
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
            boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
            for one, other in pairwise(boxes):
                assert not one.overlaps(other), [label.get_text() for label in labels]


def bands(axes: Axes) -> list[PolyCollection]:
    return [found for found in axes.collections if isinstance(found, PolyCollection)]


def line(axes: Axes, label: str) -> np.ndarray:
    return np.asarray(next(found for found in axes.lines if found.get_label() == label).get_ydata())


@pytest.fixture(scope="module")
def evaluation(forecaster: Forecaster, dataset: Dataset) -> Evaluation:
    return evaluate(forecaster, dataset)


def test_a_panel_holds_history_origin_forecast_and_band() -> None:
    forecast, history = make_tables(["north"])
    figure = plot_forecast(forecast, history)
    (axes,) = figure.axes
    np.testing.assert_array_equal(line(axes, "observed"), history["value"])
    np.testing.assert_array_equal(line(axes, "forecast (median)"), forecast["0.5"])
    assert line(axes, "origin").tolist() == [0, 1]
    (band,) = bands(axes)
    assert band.get_label() == "80% interval"
    (title,) = figure.texts or [figure._suptitle]
    assert "load" in title.get_text()
    assert "2024-01-13 07:00 UTC" in title.get_text()


def test_bands_are_pairs_of_levels_from_wide_to_narrow() -> None:
    outputs = ("0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95", "0.99", "mean")
    figure = plot_forecast(*make_tables(["north"], outputs=outputs))
    labels = [band.get_label() for band in bands(figure.axes[0])]
    assert labels == ["90% interval", "80% interval", "50% interval"]
    assert line(figure.axes[0], "forecast (mean)").size == 12


@pytest.mark.parametrize("outputs", [("mean",), ("0.5",)])
def test_a_forecast_without_quantiles_is_a_line(outputs: tuple[str, ...]) -> None:
    figure = plot_forecast(*make_tables(["north"], outputs=outputs))
    assert not bands(figure.axes[0])


def test_what_came_after_the_origin_is_drawn_apart() -> None:
    forecast, history = make_tables(["north"])
    later = forecast[["item_id", "timestamp", "target"]].assign(value=7.0)
    figure = plot_forecast(forecast, pd.concat([history, later], ignore_index=True))
    assert line(figure.axes[0], "observed").size == len(history)
    assert line(figure.axes[0], "actual").tolist() == [7.0] * 12


def test_a_value_alone_between_gaps_is_a_dot() -> None:
    forecast, history = make_tables(["north"])
    history["value"] = np.nan
    history.loc[3, "value"] = 5.0
    figure = plot_forecast(forecast, history)
    dots = [found for found in figure.axes[0].lines if found.get_marker() == "o"]
    assert [5.0] in [np.asarray(found.get_ydata()).tolist() for found in dots]


def test_panels_are_at_most_six_and_the_title_says_so() -> None:
    figure = plot_forecast(*make_tables([f"shop {i}" for i in range(9)]))
    assert len(figure.axes) == 6
    assert "the first 6 of 9 series" in figure._suptitle.get_text()


def test_the_legend_stands_once() -> None:
    figure = plot_forecast(*make_tables(["a", "b", "c"]))
    assert len(figure.legends) == 1
    assert all(axes.get_legend() is None for axes in figure.axes)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["observed", "origin", "80% interval", "forecast (median)"]


@pytest.mark.parametrize("frequency", ["5min", "h", "D", "W"])
@pytest.mark.parametrize("num_items", [1, 3, 5])
def test_every_picture_can_be_read(frequency: str, num_items: int) -> None:
    items = [f"item {place}" for place in range(num_items)]
    figure = plot_forecast(*make_tables(items, frequency=frequency, origins=[SUNDAY] * num_items))
    assert_readable(figure)
    assert {axes.get_xlabel() for axes in figure.axes} <= {"", "time (UTC)"}
    assert figure.axes[-1].get_xlabel() == "time (UTC)"


def test_origins_of_their_own_stand_in_each_panel() -> None:
    origins = [ORIGIN, ORIGIN + pd.Timedelta(days=40)]
    figure = plot_forecast(*make_tables(["a", "b"], origins=origins))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["a, from 2024-01-13 07:00 UTC", "b, from 2024-02-22 07:00 UTC"]
    for axes, origin in zip(figure.axes, origins, strict=True):
        low, high = axes.get_xlim()
        assert low < date2num(origin) < high < date2num(origin + pd.Timedelta(days=2))


def test_several_targets_get_panels_of_their_own() -> None:
    figure = plot_forecast(*make_tables(["a"], targets=("load", "price")))
    assert [axes.get_ylabel() for axes in figure.axes] == ["load", "price"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a, load", "a, price"]


def test_a_forecast_without_history_is_drawn_too() -> None:
    forecast, history = make_tables(["a"])
    assert_readable(plot_forecast(forecast, history.iloc[:0]))


def test_an_empty_forecast_is_refused() -> None:
    forecast, history = make_tables(["a"])
    with pytest.raises(DataError, match="no row to draw"):
        plot_forecast(forecast.iloc[:0], history)


def test_history_is_what_the_sources_hold_up_to_the_end_of_the_forecast(
    forecaster: Forecaster,
) -> None:
    frames = make_frames()
    forecast = forecaster.predict(frames, ORIGIN)
    history = extract_history(forecaster, forecast, frames, num_horizons=3)
    load = frames["load"]
    begin, end = ORIGIN - pd.Timedelta(hours=18), ORIGIN + pd.Timedelta(hours=6)
    for item, rows in history.groupby("item_id"):
        own = load[(load["item"] == item) & (load["time"] >= begin) & (load["time"] < end)]
        assert rows["timestamp"].tolist() == own["time"].tolist()
        np.testing.assert_allclose(rows["value"], own["load"], rtol=1e-5)


def test_the_picture_of_a_forecast_is_a_png(forecaster: Forecaster) -> None:
    frames = make_frames()
    picture = forecast_picture(forecaster, forecaster.predict(frames), frames)
    assert picture.startswith(b"\x89PNG")


def test_error_by_step_shows_every_method(evaluation: Evaluation) -> None:
    figure = plot_error_by_step(evaluation)
    (axes,) = figure.axes
    assert_readable(figure)
    drawn = {str(found.get_label()).partition(" (")[0]: found for found in axes.lines}
    assert list(drawn) == ["model", "last value", "seasonal naive", "ridge"]
    for method, found in drawn.items():
        expected = [step.mae for step in evaluation.scores[method]["load"].by_step]
        np.testing.assert_array_equal(found.get_ydata(), expected)
    assert axes.get_xlabel() == "steps ahead (a step is 1h)"


def test_test_windows_go_from_best_to_worst(evaluation: Evaluation, dataset: Dataset) -> None:
    figure = plot_test_windows(evaluation, dataset)
    assert_readable(figure)
    errors = []
    for axes in figure.axes:
        actual = line(axes, "actual")
        missed = np.abs(line(axes, "forecast (median)") - actual)
        errors.append(np.nanmean(missed))
        assert f"MAE {errors[-1]:.3g}" in axes.get_title(loc="left")
        assert 2 * np.isfinite(actual).sum() >= 6
    assert len(errors) == 6
    assert errors == sorted(errors)


def make_history(num_epochs: int) -> list[Epoch]:
    trained = [
        Epoch(number, 0.5 + (number - 3) ** 2 / 1000, 1 / number, 1000.0 * number, 0.02)
        for number in range(1, num_epochs + 1)
    ]
    return [Epoch(0, 0.9), *trained]


@pytest.mark.parametrize("num_epochs", [1, 6, 200])
def test_learning_curves_mark_the_best_epoch(num_epochs: int) -> None:
    figure = plot_learning(make_history(num_epochs))
    assert_readable(figure)
    losses, speed = figure.axes
    assert line(losses, "validation").size == num_epochs + 1
    (best,) = [found for found in losses.lines if str(found.get_label()).startswith("best")]
    assert best.get_xdata() == min(3, num_epochs)
    assert "2.0%" in speed.get_xlabel()


def test_learning_curves_of_hardly_a_training() -> None:
    assert_readable(plot_learning([Epoch(0, 0.9)]))
    assert_readable(plot_learning([]))


def test_pictures_need_no_global_state() -> None:
    assert not loaded_after("import mmts.plots", "matplotlib.pyplot")


def test_to_png_gives_the_same_bytes_each_time() -> None:
    tables = make_tables(["a"])
    assert to_png(plot_forecast(*tables)) == to_png(plot_forecast(*tables))
