"""A forecast behind the history that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmts.data.dataset import load_streams
from mmts.data.reading.sources import Source
from mmts.errors import DataError
from mmts.forecast_table import KEYS, times_as_text
from mmts.forecasting import Forecaster
from mmts.plots.style import (
    ACTUAL,
    Times,
    add_legend,
    draw_forecast,
    draw_origin,
    draw_series,
    new_figure,
    say_time,
    style_axes,
    style_time_axis,
    to_png,
)

MAX_PANELS = 6
NUM_HORIZONS = 4
"""Length of the history shown, in horizons."""


def forecast_picture(
    forecaster: Forecaster, forecast: pd.DataFrame, sources: Mapping[str, Source | None]
) -> bytes:
    """Draw what `Forecaster.predict` returned for these sources; returns a PNG file."""
    return to_png(plot_forecast(forecast, extract_history(forecaster, forecast, sources)))


def extract_history(
    forecaster: Forecaster,
    forecast: pd.DataFrame,
    sources: Mapping[str, Source | None],
    num_horizons: int = NUM_HORIZONS,
) -> pd.DataFrame:
    """Return what the sources hold of the target around each forecast.

    It begins some horizons before an item's first origin and goes on to the end of its last
    forecast, where the sources reach that far. Returns item_id, timestamp, target, value; value is
    empty where it is missing. Items and timestamps are written as in the forecast.
    """
    schema = forecaster.info.data_schema
    name = schema.target_stream
    source = sources[name]
    assert source is not None  # Nothing could have been forecast without.
    streams, items = load_streams(
        forecaster.info.config.data, schema, forecaster.info.scaling, {name: source}
    )
    stream, key_types = streams[name], forecaster.key_types(sources)
    channels = schema.target.channels("target")
    span = schema.horizon * schema.frequency
    pieces = []
    for item, rows in forecast.groupby("item_id", sort=False):
        place = items.index(str(item))
        origins = _parse_times(rows["origin"]).astype(np.int64)
        first, last = int(origins.min()), int(origins.max())
        times = stream.times(place)
        shown = (times >= first - num_horizons * span) & (times < last + span)
        values = stream.history(place)[shown][:, channels].numpy().astype(np.float64)
        values = forecaster.unscale(values[..., None])[..., 0]
        stamps = key_types.write_times(schema.target.stamps(times[shown]).numpy())
        pieces += [
            pd.DataFrame(
                {"item_id": item, "timestamp": stamps, "target": target, "value": values[:, i]}
            )
            for i, target in enumerate(schema.target_columns)
        ]
    return pd.concat(pieces, ignore_index=True)


def plot_forecast(
    forecast: pd.DataFrame, history: pd.DataFrame, max_panels: int = MAX_PANELS
) -> Figure:
    """Draw a panel per item, target and origin: history, origin, forecast and its bands.

    forecast: as `Forecaster.predict` returns it. history: as `extract_history` returns it.
    Panels beyond `max_panels` are left out, and the title says so.
    """
    if forecast.empty:
        raise DataError("the forecast has no row to draw.")
    forecast, history = times_as_text(forecast), times_as_text(history)
    groups = list(forecast.groupby(["item_id", "target", "origin"], sort=False))
    shown = groups[:max_panels]
    targets = list(dict.fromkeys(target for (_, target, _), _ in shown))
    origins = list(dict.fromkeys(forecast["origin"]))
    num_columns = 1 if len(shown) <= 3 else 2
    num_rows = -(-len(shown) // num_columns)

    title = f"{', '.join(map(str, targets))}: {int(forecast['step'].max())} steps"
    if len(origins) == 1:
        title += f" from {say_time(origins[0])}"
    if len(groups) > len(shown):
        is_rolling = forecast.groupby("item_id")["origin"].nunique().max() > 1
        word = "forecasts" if is_rolling else "series"
        title += f" (the first {len(shown)} of {len(groups)} {word})"
    figure = new_figure(10.5, 1.2 + 2.0 * num_rows, title)
    panels = figure.subplots(
        num_rows, num_columns, squeeze=False, sharex="all" if len(origins) == 1 else "none"
    ).ravel()
    for axes in panels[len(shown) :]:
        axes.remove()
    panels = panels[: len(shown)].tolist()
    for axes, ((item, target, _), rows) in zip(panels, shown, strict=True):
        own = history[(history["item_id"] == item) & (history["target"] == target)]
        name = str(item) if len(targets) == 1 else f"{item}, {target}"
        if len(origins) > 1:
            name += f", from {say_time(rows['origin'].iloc[0])}"
        _draw_panel(axes, rows, own, name)
        axes.set_ylabel(str(target))
    zone = " (UTC)" if str(origins[0]).endswith("Z") else ""
    for axes in panels[-num_columns:]:
        axes.set_xlabel(f"time{zone}")
        # A shared axis hides the labels of a panel that has only an empty place below it.
        axes.tick_params(labelbottom=True)
        axes.xaxis.get_offset_text().set_visible(True)
    add_legend(figure, panels)
    return figure


def _draw_panel(axes: Axes, forecast: pd.DataFrame, history: pd.DataFrame, title: str) -> None:
    style_axes(axes, title)
    origin = _wall_times(forecast["origin"])[0]
    times, values = _wall_times(history["timestamp"]), history["value"].to_numpy(dtype=np.float64)
    steps = _wall_times(forecast["timestamp"])
    before, within = times < steps[0], (times >= steps[0]) & (times <= steps[-1])
    draw_series(axes, times[before], values[before], "observed")
    outputs = {
        str(column): forecast[column].to_numpy(dtype=np.float64)
        for column in forecast.columns
        if column not in KEYS
    }
    draw_origin(axes, origin)
    draw_forecast(axes, steps, outputs)
    if np.isfinite(values[within]).any():
        draw_series(axes, times[within], values[within], "actual", color=ACTUAL)
    axes.margins(x=0.01)
    style_time_axis(axes)


def _wall_times(column: pd.Series) -> Times:
    """Read times as the clock on the wall shows them, in whatever zone they are written."""
    plain = column.astype(str).str.replace(r"(Z|[+-]\d\d:\d\d)$", "", regex=True)
    return pd.to_datetime(plain).to_numpy(dtype="datetime64[us]")


def _parse_times(column: pd.Series) -> Times:
    """Read times as UTC, or as they are where they state no zone."""
    parsed = pd.to_datetime(column, utc=True).dt.tz_localize(None)
    return parsed.to_numpy(dtype="datetime64[us]")
