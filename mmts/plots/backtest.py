"""A picture of a backtest: the error at each cut-off, and at each step."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmts.backtest.report import Backtest
from mmts.evaluation import BASELINES
from mmts.evaluation import MODEL as MODEL_NAME
from mmts.plots.style import (
    BASELINE_STYLES,
    MODEL,
    add_legend,
    new_figure,
    style_axes,
    style_time_axis,
)

MANY = 40
"""Cut-offs from which on their dots would cover the lines."""


def plot_backtest(backtest: Backtest) -> Figure:
    """Draw the MAE of all methods at each cut-off, and at each step; a row per target."""
    targets = backtest.targets
    dates = list(dict.fromkeys(c.cutoff[:10] for c in backtest.cutoffs))
    trained = "trained before each cut-off" if backtest.is_refit else "not trained again"
    count = len(backtest.cutoffs)
    what = f"{count} cut-off{'s' if count > 1 else ''}, {' to '.join((dates[0], *dates[1:][-1:]))}"
    figure = new_figure(12, 1.3 + 3.1 * len(targets), f"Backtest: {what}; model {trained}")
    rows = figure.subplots(len(targets), 2, squeeze=False)
    for target, (left, right) in zip(targets, rows.tolist(), strict=True):
        _draw_cutoffs(left, backtest, target)
        _draw_steps(right, backtest, target)
    rows[-1][0].set_xlabel("cut-off")
    rows[-1][1].set_xlabel(f"steps ahead (a step is {backtest.frequency})")
    add_legend(figure, [rows[0][0]])
    return figure


def _draw_cutoffs(axes: Axes, backtest: Backtest, target: str) -> None:
    style_axes(axes, "error at each cut-off")
    # Of times in a zone, what the clock on the wall there shows.
    times = np.array([c.cutoff[:19].replace(" ", "T") for c in backtest.cutoffs], "datetime64[s]")
    for method, style in _styles():
        errors = [c.scores[method][target].mae for c in backtest.cutoffs]
        axes.plot(
            times,
            errors,
            label=method,
            marker="o",
            markersize=0 if len(times) > MANY else 3.5,
            **style,
        )
    if len(times) > 1:
        style_time_axis(axes)
    else:
        axes.set_xticks(times, [backtest.cutoffs[0].cutoff])
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"MAE of {target}")


def _draw_steps(axes: Axes, backtest: Backtest, target: str) -> None:
    counts = sorted({min(backtest.values_by_step[target]), max(backtest.values_by_step[target])})
    values = f"{' to '.join(map(str, counts))} values each"
    style_axes(axes, f"error at each step, all cut-offs together ({values})")
    for method, style in _styles():
        errors = [step.mae for step in backtest.by_step[method][target]]
        steps = np.arange(1, len(errors) + 1)
        axes.plot(steps, errors, marker="o", markersize=2.5, **style)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.5, len(errors) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))


def _styles() -> list[tuple[str, dict[str, Any]]]:
    own: dict[str, Any] = {"color": MODEL, "linewidth": 2.0, "zorder": 3}
    styles: list[tuple[str, dict[str, Any]]] = [
        (name, {"linewidth": 1.5, **style})
        for name, style in zip(BASELINES, BASELINE_STYLES, strict=True)
    ]
    return [*styles, (MODEL_NAME, own)]
