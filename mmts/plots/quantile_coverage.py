"""A picture of how often what came lay where the quantiles said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mmts.evaluation import Coverage, Evaluation
from mmts.plots.style import INK, MODEL, MUTED, new_figure, style_axes

_STYLES = ((MODEL, "o"), ("#d08a2e", "s"), ("#3f8f5f", "^"), ("#8a5aa8", "D"))
"""Colour and marker of the lines by step, in turn."""

MAX_LINES = len(_STYLES)
"""Intervals drawn by step, the widest ones."""


def plot_quantile_coverage(
    evaluation: Evaluation, coverage: Mapping[str, Sequence[Coverage]]
) -> Figure:
    """Draw observed beside nominal shares: by level, and of each interval by forecast step.

    coverage: as `measure_coverage` gives it. A row of panels per target. Without a pair of levels
    the levels themselves are drawn by step.
    """
    targets = evaluation.targets
    first, end = evaluation.dates[evaluation.split]
    title = f"What lay within the quantiles: {evaluation.split} split, {first[:10]} to {end[:10]}"
    figure = new_figure(10.5, 1.0 + 3.6 * len(targets), title)
    panels = figure.subplots(
        len(targets), 2, squeeze=False, gridspec_kw={"width_ratios": [1, 1.55]}
    )
    for (by_level, by_step), target in zip(panels, targets, strict=True):
        found = coverage[target]
        _draw_levels(by_level, [level for level in found if level.lower is None])
        intervals = [interval for interval in found if interval.lower is not None]
        _draw_steps(by_step, intervals[:MAX_LINES] or found[:MAX_LINES])
        if len(targets) > 1:
            by_level.set_title(target, loc="left", fontsize=9.5, color=INK)
    by_level, by_step = panels[-1]
    by_level.set_xlabel("level of the quantile")
    by_step.set_xlabel(f"steps ahead (a step is {evaluation.step})")
    if evaluation.calibration is not None:
        figure.supxlabel(evaluation.calibration, x=0.01, ha="left", fontsize=8.5, color=MUTED)
    return figure


def _draw_levels(axes: Axes, levels: Sequence[Coverage]) -> None:
    style_axes(axes)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), label="as it says")
    axes.plot(
        [found.upper for found in levels],
        [found.observed for found in levels],
        color=MODEL,
        marker="o",
        markersize=5,
        linewidth=1.4,
        label="model",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of values below", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(fontsize=8.5, labelcolor=INK, frameon=False, loc="upper left")


def _draw_steps(axes: Axes, intervals: Sequence[Coverage]) -> None:
    style_axes(axes)
    for found, (color, marker) in zip(intervals, _STYLES, strict=False):
        steps = np.arange(1, len(found.by_step) + 1)
        inside = f"below {found.upper:g}"
        if found.lower is not None:
            inside = f"{found.lower:g} to {found.upper:g}"
        label = f"{inside}: {found.observed:.1%}, should be {found.nominal:.0%}"
        axes.plot(
            steps,
            found.by_step,
            label=label,
            color=color,
            marker=marker,
            markersize=2.5,
            linewidth=1.6,
        )
        axes.axhline(found.nominal, color=color, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlim(0.5, len(intervals[0].by_step) + 0.5)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share of values inside")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.legend(
        title="dashed: as it should be",
        title_fontsize=8,
        alignment="left",
        fontsize=8.5,
        labelcolor=INK,
        frameon=False,
        loc="lower left",
    )
