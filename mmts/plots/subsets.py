"""What each stream is worth to a model, as bars."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mmts.evaluation import Evaluation, Subsets
from mmts.plots.style import GRID, INK, MODEL, MUTED, new_figure, style_axes

_ROW_HEIGHT = 0.27


def plot_subsets(subsets: Subsets, evaluation: Evaluation) -> Figure:
    """Draw the change in MAE with each subset of streams, a panel per target.

    Lines through the ends of bars are one standard error to either side. Bars of shuffled streams
    are paler than those of streams that are missing.
    """
    base, *rows = subsets.rows
    first, end = evaluation.dates[evaluation.split]
    title = f"Worth of streams: {evaluation.split} split, {first[:10]} to {end[:10]}"
    targets = subsets.targets
    figure = new_figure(8.5, len(targets) * (0.6 + _ROW_HEIGHT * len(rows)) + 0.7, title)
    panels = figure.subplots(len(targets), 1, squeeze=False).ravel().tolist()
    places = np.arange(len(rows))
    colors = [MUTED if row.ablation.shuffled else MODEL for row in rows]
    for axes, target in zip(panels, targets, strict=True):
        mae = base.scores[target].mae
        style_axes(axes, f"{target}: MAE {mae:.4g} with {_say(base.name)}")
        changes = [row.changes[target].percent for row in rows]
        spreads = [row.changes[target].standard_error for row in rows]
        axes.barh(places, changes, height=0.62, color=colors)
        axes.errorbar(changes, places, xerr=spreads, fmt="none", ecolor=INK, elinewidth=1.1)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(places, [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
    panels[-1].set_xlabel("change in MAE, % (line: one standard error to either side)")
    return figure


def _say(name: str) -> str:
    return "all streams" if name == "all" else name
