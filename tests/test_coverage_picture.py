"""The picture of what streams hold: what is dark, pale and white, and that it can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.evaluation import leave_out
from mmts.plots import plot_coverage, to_png
from mmts.plots.coverage import _DARK, _LIGHT, MAX_BANDS
from tests.factories import START, make_frames, make_settings, write_config, write_frames
from tests.test_plots import assert_readable

DARK, LIGHT, WHITE = to_rgb(_DARK), to_rgb(_LIGHT), (1.0, 1.0, 1.0)


def load(
    folder: Path, frames: dict[str, pd.DataFrame], settings: dict[str, Any] | None = None
) -> Dataset:
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings or make_settings())).data)


def bands(figure: Figure) -> dict[str, AxesImage]:
    """Return the picture of each band by its label."""
    axes = figure.axes[1]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, axes.get_images(), strict=True))


def color_at(band: AxesImage, time: pd.Timestamp, stripe: int, stripes: int = 2) -> np.ndarray:
    """Return the colour in the middle of a stripe."""
    picture = np.asarray(band.get_array())
    begin, end, *_ = band.get_extent()
    place = (date2num(time) - begin) / (end - begin) * picture.shape[1]
    return picture[int((stripe + 0.5) / stripes * len(picture)), int(place)]


def test_observed_is_dark_a_missing_cell_pale_and_no_row_white(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"].loc[40:45, "wind"] = np.nan
    frames["weather"] = frames["weather"].drop(index=range(60, 66))
    found = bands(plot_coverage(load(tmp_path, frames)))
    missing = START + 42.5 * pd.Timedelta("3h")
    empty = START + 62.5 * pd.Timedelta("3h")
    np.testing.assert_allclose(color_at(found["wind"], missing, 0), LIGHT)
    np.testing.assert_allclose(color_at(found["wind"], missing, 1), DARK)
    np.testing.assert_allclose(color_at(found["temperature"], missing, 0), DARK)
    np.testing.assert_allclose(color_at(found["wind"], empty, 0), WHITE)
    np.testing.assert_allclose(color_at(found["wind"], empty, 1), DARK)


def test_a_long_stream_without_a_gap_is_dark_everywhere(tmp_path: Path) -> None:
    frames = make_frames(days=150)
    found = bands(plot_coverage(load(tmp_path, frames)))
    picture = np.asarray(found["planned"].get_array())
    np.testing.assert_allclose(picture, np.broadcast_to(DARK, picture.shape))
    # A load in ten is missing.
    load_picture = np.asarray(found["load"].get_array())
    assert to_rgb(_DARK)[0] < load_picture[..., 0].mean() < to_rgb(_LIGHT)[0]


def test_of_many_items_a_share_is_shown(tmp_path: Path) -> None:
    items = tuple(f"item {place:02d}" for place in range(12))
    frames = make_frames(items)
    weather = frames["weather"]
    late = weather["item"].isin(items[:6]) & (weather["time"] < "2024-01-03")
    frames["weather"] = weather[~late]
    band = bands(plot_coverage(load(tmp_path, frames)))["wind"]
    half = color_at(band, START + pd.Timedelta("1D"), 0, 1)
    np.testing.assert_allclose(half, (np.array(DARK) + WHITE) / 2)
    np.testing.assert_allclose(color_at(band, START + pd.Timedelta("5D"), 0, 1), DARK)


def test_cuts_and_names_of_the_splits_stand_in_the_picture(tmp_path: Path) -> None:
    dataset = load(tmp_path, make_frames())
    figure = plot_coverage(dataset)
    top, axes = figure.axes
    assert {text.get_text() for text in top.texts} == {"train", "validation", "test"}
    cuts = np.array([dataset.split.validation, dataset.split.test]).astype("datetime64[us]")
    drawn = {float(np.asarray(line.get_xdata())[0]) for line in axes.lines}
    assert set(date2num(cuts)) <= drawn
    assert top.get_ylabel() == "load"
    assert any("context of 24 and horizon of 6 steps" in text.get_text() for text in axes.texts)


def test_events_are_ticks(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["news"]["stamp"] = "event"
    figure = plot_coverage(load(tmp_path, make_frames(), settings))
    axes = figure.axes[1]
    assert sum(len(found.get_paths()) for found in axes.collections) == 16
    assert any(text.get_text() == "news, irregular" for text in axes.texts)


def test_a_stream_of_many_columns_is_one_band(tmp_path: Path) -> None:
    frames = make_frames()
    wide = {f"sensor {place}": frames["weather"]["wind"] + place for place in range(2 * MAX_BANDS)}
    frames["weather"] = frames["weather"][["time", "item"]].assign(**wide)
    figure = plot_coverage(load(tmp_path, frames))
    assert list(bands(figure)) == ["load", "staff", "all columns", "planned", "shift", "mood"]
    assert any(f"{2 * MAX_BANDS} columns" in text.get_text() for text in figure.axes[1].texts)


@pytest.mark.parametrize("num_items", [1, 5, 40])
def test_the_picture_can_be_read(tmp_path: Path, num_items: int) -> None:
    items = tuple(f"item {place}" for place in range(num_items))
    figure = plot_coverage(load(tmp_path, make_frames(items, days=10)))
    assert_readable(figure)
    assert to_png(figure).startswith(b"\x89PNG")


def test_a_stream_alone_is_drawn_too(tmp_path: Path) -> None:
    frames = {"load": make_frames(("one",))["load"].drop(columns="item")}
    load_stream = {"path": "load.csv", "time": "time", "target": ["load"], "context_length": "24h"}
    settings = {"name": "alone", "data": {"horizon": "6h", "streams": {"load": load_stream}}}
    figure = plot_coverage(load(tmp_path, frames, settings))
    assert list(bands(figure)) == ["load"]
    assert figure.legends[0].get_texts()[0].get_text() == "target"


def test_a_monthly_target_is_one_line(tmp_path: Path) -> None:
    months = pd.date_range("2000-01-01", periods=120, freq="MS")
    values = np.random.default_rng(0).normal(size=120)
    frames = {"sales": pd.DataFrame({"time": months, "sales": values})}
    sales = {"path": "sales.csv", "time": "time", "target": ["sales"], "context_length": "12mo"}
    settings = {"name": "months", "data": {"horizon": "3mo", "streams": {"sales": sales}}}
    top = plot_coverage(load(tmp_path, frames, settings)).axes[0]
    np.testing.assert_allclose(np.asarray(top.lines[0].get_ydata()), values, rtol=1e-5)


def test_a_stream_that_is_left_out_is_white(tmp_path: Path) -> None:
    dataset = leave_out(load(tmp_path, make_frames()), ["weather", "news"])
    figure = plot_coverage(dataset)
    assert_readable(figure)
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert "wind" in labels
    # Nothing is drawn on their bands, which are white.
    assert len(figure.axes[1].get_images()) < len(labels)
