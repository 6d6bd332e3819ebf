"""Where edges that choose what they read have looked: by lag, and token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, PercentFormatter

from mmts.data.times import say_span
from mmts.explanation import EdgeExplanation, Explanation, SourceReading
from mmts.plots.graph import KIND_COLORS
from mmts.plots.style import INK, MUTED, Array, add_legend, new_figure, style_axes

MAX_PANELS = 12
"""Panels of a picture; of more, those of the strongest edges are drawn."""

_ALIGNING = ("residual", "film", "weighted")
"""Kinds that read what lies next in time; where they look was not learned."""

_NUM_TICKS = 3

_ROOM = 22
"""Characters that fit below a panel, with two of space to each label."""

_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0

# Seconds between two ticks.
_STEPS = (
    *(0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 30.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY),
    *(14 * _DAY, 28 * _DAY, 84 * _DAY, 364 * _DAY, 1_820 * _DAY, 9_100 * _DAY, 36_400 * _DAY),
)


class _Panel(NamedTuple):
    """One source of one edge."""

    edge: EdgeExplanation
    reading: SourceReading

    @property
    def title(self) -> str:
        nodes = f"{self.reading.source} -> {self.edge.to}"
        return f"{self.edge.kind}: {nodes}\n{self.reading.share:.0%} goes to {self.reading.source}"


def plot_lags(explanation: Explanation) -> Figure | None:
    """Draw how far back each edge looks; None where no edge chooses what it reads.

    Bars sum to the share of the source. The line is what they would be if every token that may be
    read were read alike: where both agree, nothing was learned but how much to read.
    """
    panels = [
        panel
        for panel in _panels(explanation)
        if panel.reading.lags is not None and panel.reading.lags.shares
    ]
    if not panels:
        return None
    chosen = panels[:MAX_PANELS]
    figure, axes_of = new_grid(len(chosen), len(panels), "How far back edges look", 2.15)
    for axes, panel in zip(axes_of, chosen, strict=True):
        lags = panel.reading.lags
        assert lags is not None
        style_axes(axes, panel.title)
        edges = lags.first + lags.width * np.arange(len(lags.shares) + 1.0)
        axes.bar(
            edges[:-1], lags.shares, width=lags.width, align="edge", edgecolor="white",
            linewidth=0.6, color=KIND_COLORS.get(panel.edge.kind, INK), label="learned",
        )  # fmt: skip
        axes.stairs(lags.even, edges, color=INK, linewidth=1.2, label="if all were read alike")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _label_spans(axes, edges)
        axes.set_xlabel(
            "read that long before the end of a token"
            if lags.first >= 0
            else "read that long before (below 0: after)"
        )
    for axes in axes_of[:: num_columns(len(chosen))]:
        axes.set_ylabel("mean share")
    # Below them: within a panel it would cover bars.
    add_legend(figure, axes_of[:1])
    return figure


def plot_token_shares(explanation: Explanation) -> Figure | None:
    """Draw what each target token reads of each source token, mean over windows.

    None where no edge chooses what it reads, or where tokens stand elsewhere in each window.
    """
    panels = [panel for panel in _panels(explanation) if panel.reading.tokens is not None]
    if not panels:
        return None
    chosen = panels[:MAX_PANELS]
    figure, axes_of = new_grid(len(chosen), len(panels), "Which token reads which", 2.5)
    for axes, panel in zip(axes_of, chosen, strict=True):
        tokens = panel.reading.tokens
        assert tokens is not None
        style_axes(axes, panel.title)
        axes.grid(visible=False)
        colors = LinearSegmentedColormap.from_list(
            panel.edge.kind, ["white", KIND_COLORS.get(panel.edge.kind, INK)]
        )
        shares = np.array(tokens.shares)
        image = axes.pcolormesh(shares, cmap=colors, vmin=0, vmax=max(shares.max(), 1e-9))
        bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1))
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7.5, colors=INK, length=2)
        # Of the axes of a bar nobody asks for the name.
        bar.ax.set_ylabel("share", fontsize=8, color=INK)
        label_tokens(axes, "x", tokens.source_times)
        label_tokens(axes, "y", tokens.target_times)
        axes.set_xlabel(f"middle of a token of {panel.reading.source}, from the origin")
        axes.set_ylabel("end of a token that reads")
    return figure


def _panels(explanation: Explanation) -> list[_Panel]:
    """Return sources of edges that choose, the strongest edge first."""
    choosing = [edge for edge in explanation.edges if edge.kind not in _ALIGNING]
    choosing.sort(key=lambda edge: -np.nan_to_num(edge.strength.overall))
    return [_Panel(edge, reading) for edge in choosing for reading in edge.readings]


def num_columns(num_panels: int) -> int:
    """Return how many panels stand side by side."""
    return min(3, num_panels)


def new_grid(num_panels: int, total: int, title: str, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with its panels; total: of panels, where not all of them are drawn."""
    columns = num_columns(num_panels)
    rows = -(-num_panels // columns)
    left_out = f", {num_panels} of {total}" if total > num_panels else ""
    figure = new_figure(max(6.5, 4.0 * columns), 0.6 + (height + 0.6) * rows, f"{title}{left_out}")
    found = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in found[num_panels:]:
        axes.remove()
    return figure, found[:num_panels]


def _label_spans(axes: Axes, edges: Array) -> None:
    """Label round lags, not more than there is room for."""
    shown = _round_times(edges[0] / 1e6, edges[-1] / 1e6)
    axes.set_xticks([lag * 1e6 for lag in shown], [_say(lag) for lag in shown])
    axes.set_xlim(edges[0], edges[-1])


def label_tokens(axes: Axes, axis: str, times: Sequence[float]) -> None:
    """Label round times; where tokens share a time, or stand out of order, some of their own."""
    if len(times) > 1 and (np.diff(times) > 0).all():
        shown = _round_times(times[0], times[-1])
        places = np.interp(shown, times, np.arange(len(times)) + 0.5)
    else:
        # From the newest backwards.
        chosen = range(len(times) - 1, -1, -math.ceil(len(times) / _NUM_TICKS))[::-1]
        shown, places = [times[place] for place in chosen], np.array(chosen) + 0.5
    axis_of = axes.xaxis if axis == "x" else axes.yaxis
    axis_of.set_major_locator(FixedLocator(places.tolist()))
    axis_of.set_ticklabels([_say(time) for time in shown])
    axis_of.set_tick_params(color=MUTED)


def _round_times(low: float, high: float) -> list[float]:
    """Return round seconds between two others, as many as can be read side by side."""
    shown = [low]
    for step in _STEPS:
        if (high - low) / step < _ROOM:
            shown = [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
            if sum(len(_say(time)) + 2 for time in shown) <= _ROOM:
                break
    return shown


def _say(seconds: float) -> str:
    # A zero would have a unit, and mean the origin.
    return "0" if abs(seconds) < 1e-3 else say_span(round(seconds * 1e6))
