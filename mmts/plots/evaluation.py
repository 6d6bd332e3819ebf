"""Pictures of an evaluation: errors by step, and windows from the best to the worst."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmts.data.dataset import Dataset
from mmts.data.times import format_times
from mmts.evaluation import MODEL as MODEL_NAME
from mmts.evaluation import Evaluation, WindowForecasts
from mmts.plots.style import (
    ACTUAL,
    BASELINE_STYLES,
    INK,
    MODEL,
    Array,
    Times,
    add_legend,
    draw_forecast,
    draw_origin,
    draw_series,
    new_figure,
    say_time,
    style_axes,
    style_time_axis,
)

RANKS = {
    "best": 0.0,
    "better than 3 of 4": 0.25,
    "typical": 0.5,
    "worse than 3 of 4": 0.75,
    "worse than 19 of 20": 0.95,
    "worst": 1.0,
}
"""Windows that are shown, by the share of windows with a smaller error."""

NUM_HORIZONS = 2
"""Length of the history shown, in horizons."""


def plot_error_by_step(evaluation: Evaluation) -> Figure:
    """Draw the MAE of the model and its baselines at each step, a panel per target."""
    targets = evaluation.targets
    first, end = evaluation.dates[evaluation.split]
    title = f"Error by forecast step: {evaluation.split} split, {first[:10]} to {end[:10]}"
    figure = new_figure(8.5, 0.9 + 3.1 * len(targets), title)
    panels = figure.subplots(len(targets), 1, squeeze=False).ravel().tolist()
    for axes, target in zip(panels, targets, strict=True):
        style_axes(axes, target if len(targets) > 1 else "")
        styles = iter(BASELINE_STYLES)
        for method, scores in evaluation.scores.items():
            errors = [step.mae for step in scores[target].by_step]
            own = {"color": MODEL, "linewidth": 2.0, "zorder": 3}
            style = own if method == MODEL_NAME else {"linewidth": 1.5, **next(styles)}
            label = f"{method} ({scores[target].overall.mae:.4g})"
            steps = np.arange(1, len(errors) + 1)
            axes.plot(steps, errors, label=label, marker="o", markersize=2.5, **style)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0.5, len(errors) + 0.5)
        axes.set_ylabel(f"MAE of {target}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
        axes.legend(
            title="MAE over all steps in brackets" if axes is panels[0] else None,
            title_fontsize=8,
            alignment="left",
            fontsize=8.5,
            labelcolor=INK,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
        )
    panels[-1].set_xlabel(f"steps ahead (a step is {evaluation.step})")
    return figure


def plot_test_windows(
    evaluation: Evaluation, dataset: Dataset, target: str | None = None
) -> Figure:
    """Draw windows from the best to the worst by MAE: forecast, bands and what came.

    target: the first by default. Windows with less than half as many observed values as the
    fullest are passed over, as a lucky value or two makes no good forecast.
    """
    target = target or evaluation.targets[0]
    channel = evaluation.targets.index(target)
    windows = evaluation.windows
    ranked, errors = _rank_windows(windows, channel)
    chosen = {name: ranked[round(rank * (len(ranked) - 1))] for name, rank in RANKS.items()}

    figure = new_figure(12, 6.2, f"{target}: windows of the {evaluation.split} split by their MAE")
    panels = figure.subplots(2, 3).ravel().tolist()
    schema = dataset.schema
    stamps = format_times(windows.origins, schema.has_time_zone, schema.time_zone)
    for axes, (name, window) in zip(panels, chosen.items(), strict=True):
        item = dataset.items[windows.items[window]]
        origin = say_time(stamps[window]).removesuffix(" UTC")
        style_axes(axes, f"{name}: MAE {errors[window]:.3g}\n{item}, from {origin}")
        _draw_window(axes, windows, window, channel, dataset)
    zone = " (UTC)" if dataset.schema.has_time_zone else ""
    for place, axes in enumerate(panels):
        if place % 3 == 0:
            axes.set_ylabel(target)
        if place >= 3:
            axes.set_xlabel(f"time{zone}")
    add_legend(figure, panels)
    return figure


def _rank_windows(
    windows: WindowForecasts, channel: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return windows by rising MAE, and the MAE of every window."""
    observed = windows.observed[..., channel]
    missed = np.abs(windows.point("0.5", "mean")[..., channel] - windows.actual[..., channel])
    count = observed.sum(axis=1)
    errors = np.where(observed, missed, 0.0).sum(axis=1) / np.maximum(count, 1)
    full = np.flatnonzero(2 * count >= count.max())
    return full[np.argsort(errors[full], kind="stable")], errors


def _draw_window(
    axes: Axes, windows: WindowForecasts, window: int, channel: int, dataset: Dataset
) -> None:
    schema = dataset.schema
    origin = int(windows.origins[window])
    times, values = _history_before(dataset, int(windows.items[window]), origin, channel)
    # Written as the user stamps the rows of the target.
    steps = _to_times(schema.step_stamps(torch.tensor([origin]))[0].numpy())
    observed = windows.observed[window, :, channel]
    outputs = {
        output: windows.forecast[window, :, channel, place]
        for place, output in enumerate(windows.outputs)
    }
    draw_series(axes, _to_times(schema.target.stamps(times).numpy()), values, "observed")
    draw_origin(axes, _to_times(np.array([origin]))[0])
    draw_forecast(axes, steps, outputs)
    actual = np.where(observed, windows.actual[window, :, channel], np.nan)
    draw_series(axes, steps, actual, "actual", color=ACTUAL, linewidth=1.3)
    axes.margins(x=0.01)
    style_time_axis(axes, max_ticks=5)


def _history_before(dataset: Dataset, item: int, origin: int, channel: int) -> tuple[Tensor, Array]:
    """Return times (int64) and values of the target before an origin; NaN where missing."""
    schema = dataset.schema
    stream = dataset.streams[schema.target_stream]
    times = stream.times(item)
    first = origin - NUM_HORIZONS * schema.horizon * schema.frequency
    shown = (times >= first) & (times < origin)
    column = schema.target.channels("target")[channel]
    scaling = dataset.scaling[schema.target_stream].numbers[schema.target_columns[channel]]
    values = stream.history(item)[shown, column].numpy().astype(np.float64)
    return times[shown], values * scaling.scale + scaling.mean


def _to_times(microseconds: npt.NDArray[np.int64]) -> Times:
    return microseconds.astype("datetime64[us]")
