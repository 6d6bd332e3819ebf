"""Pictures of an explanation: what edges add and cost, and what streams cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmts.explanation import INTERVAL, Cost, Explanation
from mmts.explanation.edges import SPREAD
from mmts.plots.graph import KIND_COLORS
from mmts.plots.style import GRID, INK, MODEL, MUTED, new_figure, style_axes

_ROW_HEIGHT = 0.3
_PALE = "#c9ced5"
_COST_LINES = f"{INTERVAL} standard errors of a cost; pale where they hold zero"


def plot_edges(explanation: Explanation) -> Figure:
    """Draw how strongly each edge acts beside what it costs to switch it off.

    Bars of costs whose interval holds zero are pale: they cannot be told from none.
    """
    edges = explanation.edges
    labels = [f"{edge.kind}: {edge.words}" for edge in edges]
    if explanation.all_edges is not None and len(edges) > 1:
        labels.append("all edges together")
    longest = max(map(len, labels), default=0)
    height = _ROW_HEIGHT * len(labels) + 1.35
    figure = new_figure(6.4 + 0.068 * longest, height, _title(explanation, "Edges"))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(labels))
    style_axes(left, "strength")
    strengths = np.array([edge.strength.overall for edge in edges])
    colors = [KIND_COLORS.get(edge.kind, INK) for edge in edges]
    left.barh(places[: len(edges)], strengths, height=0.62, color=colors)
    left.hlines(
        places[: len(edges)],
        [edge.strength.low for edge in edges],
        [edge.strength.high for edge in edges],
        color=INK, linewidth=1.1,
    )  # fmt: skip
    left.set_xlim(left=0)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.set_xlabel("norm of what is added / of what it is added to")
    style_axes(right, "cost of switching it off")
    costs = [edge.cost for edge in edges]
    if explanation.all_edges is not None and len(edges) > 1:
        costs.append(explanation.all_edges)
    _draw_costs(right, costs, places)
    _name_rows(left, labels)
    _name_rows(right, labels)
    right.tick_params(axis="y", labelleft=False)
    right.set_xlabel(f"change in {explanation.metric.upper()}, %")
    _add_note(figure, f"Lines: {SPREAD[1] - SPREAD[0]}% of windows, and {_COST_LINES}")
    return figure


def plot_streams(explanation: Explanation) -> Figure:
    """Draw what it costs to shuffle each stream, and to leave it out."""
    labels, costs = [], []
    for stream in explanation.streams:
        labels += [f"{stream.name} shuffled", f"{stream.name} left out"]
        costs += [stream.shuffled, stream.without]
    longest = max(map(len, labels), default=0)
    height = _ROW_HEIGHT * len(labels) + 1.35
    figure = new_figure(5.2 + 0.068 * longest, height, _title(explanation, "Streams"))
    axes = figure.subplots()
    style_axes(axes, "cost of shuffling it, and of leaving it out")
    _draw_costs(axes, costs, np.arange(len(labels)))
    _name_rows(axes, labels)
    axes.set_xlabel(f"change in {explanation.metric.upper()}, %")
    _add_note(figure, f"Lines: {_COST_LINES}")
    return figure


def _draw_costs(axes: Axes, costs: Sequence[Cost], places: np.ndarray) -> None:
    percents = np.array([cost.percent for cost in costs])
    spreads = INTERVAL * np.array([cost.standard_error for cost in costs])
    colors = [MODEL if cost.verdict in ("costs", "gains") else _PALE for cost in costs]
    axes.barh(places, percents, height=0.62, color=colors)
    axes.errorbar(percents, places, xerr=spreads, fmt="none", ecolor=INK, elinewidth=1.1)
    axes.axvline(0, color=INK, linewidth=0.9)
    # Costs near zero have long labels.
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for place, cost in zip(places, costs, strict=True):
        if cost.verdict == "none":
            # Else the row would be empty, as if nothing had been found out.
            axes.annotate(
                "0", (0, place), (5, 0), textcoords="offset points", va="center", color=INK,
                fontsize=8.5,
            )  # fmt: skip


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(MUTED)


def _title(explanation: Explanation, what: str) -> str:
    first, end = explanation.dates
    return f"{what}: {explanation.split} split, {first[:10]} to {end[:10]}"


def _add_note(figure: Figure, text: str) -> None:
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=MUTED)
