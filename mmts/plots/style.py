"""How all pictures look: few colours, thin lines, and no axis without a name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from mmts.metrics import outermost_interval

INK = "#2b3038"
"""What was observed."""

MODEL = "#1f6fb4"
"""What the model forecasts."""

ACTUAL = "#d1662f"
"""What was observed after the origin."""

MUTED = "#8b929c"
"""What stands behind."""

GRID = "#e6e8eb"

BASELINE_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#b9bec6", "linestyle": (0, (1, 1.5))},
    {"color": "#d08a2e", "linestyle": "-."},
    {"color": "#3f8f5f", "linestyle": "--"},
)
"""Last value, seasonal naive and ridge."""

DPI = 150
"""Of pictures as PNG, in pixels an inch."""

Times = npt.NDArray[np.datetime64]
Array = npt.NDArray[np.float64]


class ShownFigure(Figure):
    """A figure that a notebook shows as the value of a cell, without pyplot and its state."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure, in inches, with its title at the left."""
    figure = ShownFigure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def style_axes(axes: Axes, title: str = "") -> None:
    """Take away what tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8.5, length=3, color=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    if title:
        axes.set_title(title, loc="left", fontsize=9.5, color=INK)


def style_time_axis(axes: Axes, max_ticks: int = 7) -> None:
    """Label times once each, with the day or year where it changes."""
    # Two labels at least: with three it finds none for spans of less than three days, and warns.
    # matplotlib's module of dates has no types.
    locator = AutoDateLocator(minticks=2, maxticks=max_ticks)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set(color=INK, fontsize=8.5)


def draw_series(axes: Axes, times: Times, values: Array, label: str, **style: object) -> None:
    """Draw a line that breaks where a value is missing, and a dot where a value stands alone.

    values: (time,), NaN where missing.
    """
    known = np.isfinite(values)
    alone = known & ~np.append(False, known[:-1]) & ~np.append(known[1:], False)
    settings: dict[str, Any] = {"color": INK, "linewidth": 1.1, **style}
    axes.plot(times, values, label=label, **settings)
    settings |= {"linestyle": "none", "marker": "o", "markersize": 2.4, "markeredgewidth": 0}
    axes.plot(times[alone], values[alone], **settings)


def draw_forecast(axes: Axes, times: Times, outputs: dict[str, Array]) -> None:
    """Draw the median or mean as a line, and pairs of quantiles as bands, the wider the paler.

    outputs: `mean` or quantile levels, each (time,).
    """
    values = {float(name): found for name, found in outputs.items() if name != "mean"}
    pairs, remaining = [], sorted(values)
    while (place := outermost_interval(remaining)) is not None:
        low, high = remaining[place[0]], remaining[place[1]]
        pairs.append((low, high))
        remaining = [level for level in remaining if low < level < high]
    for depth, (low, high) in enumerate(pairs):
        # Mixed with white instead of transparent, so that the legend shows what the panel shows.
        shade = 0.18 + 0.32 * depth / max(1, len(pairs) - 1)
        axes.fill_between(
            times,
            values[low],
            values[high],
            color=tuple(1 - shade * (1 - part) for part in to_rgb(MODEL)),
            linewidth=0,
            label=f"{100 * (high - low):g}% interval",
        )
    names = [name for name in ("0.5", "mean") if name in outputs]
    for name, style in zip(names, ("-", "--"), strict=False):
        word = "median" if name == "0.5" else name
        label = f"forecast ({word})"
        draw_series(axes, times, outputs[name], label, color=MODEL, linewidth=1.6, linestyle=style)


def say_time(stamp: str) -> str:
    """Write a time as people do: without seconds, and with its zone in words."""
    time = stamp.removesuffix("Z").replace("T", " ")
    return time.removesuffix(":00") + (" UTC" if stamp.endswith("Z") else "")


def draw_origin(axes: Axes, time: np.datetime64) -> None:
    """Mark where a forecast begins."""
    # Matplotlib takes a datetime64 wherever its stubs say float.
    axes.axvline(time, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="origin")  # type: ignore[arg-type]


def add_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Explain every label once, below the panels."""
    found: dict[str, Artist] = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(str(label), handle)
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower left",
        ncols=len(found),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.8,
    )


def to_png(figure: Figure) -> bytes:
    """Return the picture as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Return the picture as an SVG file, the same each time: without date, with fixed names."""
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "mmts"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def to_picture(figure: Figure, path: str | Path) -> bytes:
    """Return the picture in the format that the ending of a path asks for, PNG unless `.svg`."""
    return to_svg(figure) if Path(path).suffix.lower() == ".svg" else to_png(figure)
