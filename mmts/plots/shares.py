"""How edges divide what they read among their sources: by edge, and along the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from mmts.explanation import EdgeExplanation, Explanation
from mmts.plots.attention import MAX_PANELS, label_tokens, new_grid, num_columns
from mmts.plots.style import GRID, INK, MODEL, Array, new_figure, style_axes

_SOURCES = (MODEL, "#d08a2e", "#3f8f5f", "#8a5aa8", "#56b4e9", "#7a5230")
"""Of streams in turn; they differ in lightness too."""

_NOTHING = "#d9dce1"
_ROW = 0.36
_MOST_LINES = 60
_LINE = 44
"""Characters that fit above a panel."""


def plot_shares(explanation: Explanation) -> Figure | None:
    """Draw what share of its reading each edge gives to which stream; None where none tells.

    A bar per edge; what is missing to one went to nothing, or has faded with age.
    """
    edges = [edge for edge in explanation.edges if edge.readings]
    if not edges:
        return None
    colors = _color_streams(edges)
    labels = [f"{edge.kind}: {edge.words}" for edge in edges]
    first, end = explanation.dates
    title = f"What edges read: {explanation.split} split, {first[:10]} to {end[:10]}"
    width = 5.6 + 0.068 * max(map(len, labels))
    figure = new_figure(width, 1.5 + _ROW * len(edges), title)
    axes = figure.subplots()
    style_axes(axes, "by stream that is read")
    for row, edge in enumerate(edges):
        _draw_edge(axes, row, edge, colors)
    axes.set_yticks(np.arange(len(edges)), labels)
    axes.set_ylim(len(edges) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean share over the tokens that read")
    _explain_colors(figure, colors)
    return figure


def plot_shares_over_time(explanation: Explanation) -> Figure | None:
    """Draw how each edge divides its reading at each token that reads; None where none tells.

    Only where the tokens stand at the same times in all windows.
    """
    edges = [e for e in explanation.edges if any(r.over_time is not None for r in e.readings)]
    if not edges:
        return None
    chosen = edges[:MAX_PANELS]
    colors = _color_streams(edges)
    title = "What edges read, along the window"
    figure, panels = new_grid(len(chosen), len(edges), title, 2.1)
    for axes, edge in zip(panels, chosen, strict=True):
        style_axes(axes, "\n".join(wrap(f"{edge.kind}: {edge.words}", _LINE)))
        _draw_over_time(axes, edge, colors)
    for axes in panels[:: num_columns(len(chosen))]:
        axes.set_ylabel("mean share")
    _explain_colors(figure, colors)
    return figure


def _draw_over_time(axes: Axes, edge: EdgeExplanation, colors: Mapping[str, str]) -> None:
    readings = [(r.source, r.over_time) for r in edge.readings if r.over_time is not None]
    times = readings[0][1].times
    places, bottom = np.arange(len(times), dtype=np.float64) + 0.5, np.zeros(len(times))
    for source, over_time in readings:
        shares = np.array(over_time.shares)
        _draw_bars(axes, places, shares, bottom, colors[_stream(source)])
        bottom += shares
    _draw_bars(axes, places, np.maximum(1 - bottom, 0.0), bottom, _NOTHING)
    axes.set(xlim=(0, len(times)), ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=False)
    label_tokens(axes, "x", times)
    axes.set_xlabel("end of a token that reads, from the origin")


def _draw_bars(axes: Axes, places: Array, shares: Array, bottom: Array, color: str) -> None:
    # Lines between bars only where these are wide enough to be told apart.
    line = 0.8 if len(places) <= _MOST_LINES else 0.0
    axes.bar(
        places, shares, bottom=bottom, width=1.0, color=color, edgecolor="white", linewidth=line
    )


def _color_streams(edges: Sequence[EdgeExplanation]) -> dict[str, str]:
    streams = dict.fromkeys(_stream(r.source) for edge in edges for r in edge.readings)
    return {name: _SOURCES[place % len(_SOURCES)] for place, name in enumerate(streams)}


def _explain_colors(figure: Figure, colors: Mapping[str, str]) -> None:
    handles = [Patch(color=color, label=name) for name, color in colors.items()]
    handles.append(Patch(color=_NOTHING, label="nothing"))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=min(len(handles), 8), frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=1.2,
    )  # fmt: skip


def _draw_edge(axes: Axes, row: int, edge: EdgeExplanation, colors: Mapping[str, str]) -> None:
    shares = [(_stream(r.source), r.source, r.share) for r in edge.readings]
    left = 0.0
    for stream, source, share in [*shares, ("", "", edge.nothing)]:
        color = colors.get(stream, _NOTHING)
        axes.barh(row, share, left=left, height=0.68, color=color, edgecolor="white", linewidth=0.8)
        if share >= 0.09:
            words = f"{share:.0%}" if share < 0.2 or not source else f"{source} {share:.0%}"
            axes.text(
                left + share / 2, row, words, ha="center", va="center", fontsize=8,
                color=_ink_on(color),
            )  # fmt: skip
        left += share


def _ink_on(color: str) -> str:
    """Return black or white, whichever can be read on a colour."""
    red, green, blue = to_rgb(color)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def _stream(source: str) -> str:
    return source.rpartition(".")[0]
