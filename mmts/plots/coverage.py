"""What each stream holds, and when: bands on one time axis, with the target on top."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmts.data.dataset import Dataset
from mmts.data.findings.coverage import Coverage, cover_streams
from mmts.data.splits import SPLITS
from mmts.plots.style import (
    GRID,
    INK,
    MODEL,
    MUTED,
    Array,
    Times,
    draw_series,
    new_figure,
    style_axes,
    style_time_axis,
)

MAX_BANDS = 26
"""Bands that a picture holds; streams of many columns get a single one when there are more."""

MAX_COLUMNS = 8
"""Columns of a stream that get a band each."""

MAX_STRIPES = 8
"""Items that get a stripe each within a band; more are drawn as one, the darker the more hold."""

MAX_TICKS = 600
"""Events of a stream that are drawn one by one."""

_DARK = "#4f7fa8"
_LIGHT = "#d5e1ec"
_NUM_BINS = 1_200
_PIXELS = 48
_BAND = 0.30
_HEADING = 0.24
_WIDTH = 11.0


class _Band(NamedTuple):
    """One band of the picture: some columns of a stream; top: y of its upper edge, in inches."""

    label: str
    coverage: Coverage
    columns: list[int]
    top: float


def plot_coverage(dataset: Dataset) -> Figure:
    """Draw one band per stream, or per column where these are few, and the target on top.

    Dark where all cells of a band are observed, pale where only other cells of the same rows are,
    white where nothing is. Within a band few items have a stripe each; of many the shares are
    shown. Static streams and those made up from the calendar have no band.
    """
    coverages = {
        name: coverage
        for name, coverage in cover_streams(dataset.streams, dataset.scaling).items()
        if not coverage.stream.schema.is_static and coverage.stream.schema.calendar is None
    }
    bands, headings, height = _lay_out(coverages)
    bounds = [(int(c.starts.min()), int(c.ends.max())) for c in coverages.values() if len(c.starts)]
    first, last = min(begin for begin, _ in bounds), max(end for _, end in bounds)
    title = f"{', '.join(dataset.schema.target_columns)}: what the streams hold, and when"
    figure = new_figure(_WIDTH, 2.6 + height, title)
    top, axes = figure.subplots(
        2, 1, sharex=True, height_ratios=[1.25, height + 0.45], gridspec_kw={"hspace": 0.02}
    )
    _draw_target(top, dataset, coverages[dataset.schema.target_stream], first, last)
    for band in bands:
        _draw_band(axes, band, dataset, first, last)
    for text, y in headings:
        axes.annotate(
            text,
            (0, y),
            xycoords=("axes fraction", "data"),
            xytext=(0, -2),
            textcoords="offset points",
            va="top",
            fontsize=9,
            fontweight="bold",
            color=INK,
        )
    _style_bands(axes, bands, height)
    _draw_scale(axes, dataset, first, height)
    _draw_cuts(top, axes, dataset, first, last)
    zone = " (UTC)" if dataset.schema.has_time_zone else ""
    axes.set_xlabel(f"time{zone}")
    axes.set_xlim(*_to_times([first, last]))
    style_time_axis(axes)
    top.tick_params(labelbottom=False)
    top.xaxis.get_offset_text().set_visible(False)
    _add_legend(figure, top)
    return figure


def _lay_out(
    coverages: dict[str, Coverage],
) -> tuple[list[_Band], list[tuple[str, float]], float]:
    """Place bands and headings from the top down; returns these and the height, in inches."""
    widths = {name: len(c.stream.schema.columns) for name, c in coverages.items()}
    split = {name for name, width in widths.items() if width <= MAX_COLUMNS}
    # The widest streams are drawn as one until all bands fit.
    while split and sum(widths[n] if n in split else 1 for n in coverages) > MAX_BANDS:
        split.remove(max(split, key=lambda name: widths[name]))
    bands, headings, y = [], [], 0.0
    for name, coverage in coverages.items():
        columns = coverage.stream.schema.columns
        headings.append((_heading(name, coverage, name in split), y))
        y += _HEADING
        groups = [[place] for place in range(len(columns))]
        labels = [column.name for column in columns]
        if name not in split:
            groups, labels = [list(range(len(columns)))], ["all columns"]
        for label, group in zip(labels, groups, strict=True):
            bands.append(_Band(label, coverage, group, y))
            y += _BAND
        y += 0.06
    return bands, headings, y


def _heading(name: str, coverage: Coverage, is_split: bool) -> str:
    schema = coverage.stream.schema
    words = [name, "irregular" if schema.clock is None else f"every {schema.clock}"]
    num_items = len(np.unique(coverage.items))
    if schema.has_items:
        words.append(f"{num_items:,} item{'' if num_items == 1 else 's'}")
        if 1 < num_items <= MAX_STRIPES:
            words[-1] += " (a stripe each)"
    if not is_split:
        words.append(f"{len(schema.columns):,} columns")
    return ", ".join(words)


def _draw_band(axes: Axes, band: _Band, dataset: Dataset, first: int, last: int) -> None:
    coverage, extent = band.coverage, (band.top + 0.03, band.top + _BAND - 0.03)
    axes.axhspan(*extent, facecolor="white", edgecolor=GRID, linewidth=0.6)
    observed = coverage.observed[:, band.columns]
    schema = coverage.stream.schema
    owners = np.unique(coverage.items)
    if not len(owners):
        # A stream that is left out.
        return
    stripes = len(owners) if schema.has_items and len(owners) <= MAX_STRIPES else 1
    if schema.clock is None and coverage.present.sum() <= MAX_TICKS:
        _draw_ticks(axes, coverage, observed, owners, stripes, extent)
        return
    full, rows = _shares(coverage, observed, first, last, owners, stripes)
    # From white over pale to dark, by how much of a bin holds the values and how much only rows.
    dark, pale = np.array(to_rgb(_DARK)), np.array(to_rgb(_LIGHT))
    only_rows = np.clip(rows - full, 0, 1)
    picture = 1 - full[..., None] * (1 - dark) - only_rows[..., None] * (1 - pale)
    begin, end = _to_numbers([first, last])
    # Several pixels for each stripe, so that it is not blurred into the next.
    picture = np.repeat(np.clip(picture, 0, 1), _PIXELS // stripes, axis=0)
    axes.imshow(
        picture,
        extent=(begin, end, extent[1], extent[0]),
        aspect="auto",
        interpolation="antialiased",
        zorder=2,
    )


def _draw_ticks(
    axes: Axes,
    coverage: Coverage,
    observed: npt.NDArray[np.bool_],
    owners: npt.NDArray[np.int64],
    stripes: int,
    extent: tuple[float, float],
) -> None:
    """Draw each event as a tick in the stripe of its item."""
    stripe = np.searchsorted(owners, coverage.items) if stripes > 1 else 0 * coverage.items
    height = (extent[1] - extent[0]) / stripes
    full = observed.all(axis=1)
    for rows, color in ((coverage.present & ~full, _LIGHT), (full, _DARK)):
        low = extent[0] + height * stripe[rows]
        times = _to_times(coverage.starts[rows])
        axes.vlines(times, low, low + height, color=color, linewidth=1.2, zorder=2)


def _shares(
    coverage: Coverage,
    observed: npt.NDArray[np.bool_],
    first: int,
    last: int,
    owners: npt.NDArray[np.int64],
    stripes: int,
) -> tuple[Array, Array]:
    """Return what share of each bin holds all values, and what share rows, (stripe, bin).

    The bins of a stream with a clock are no shorter than its periods, or hold the row that covers
    their middle; of many items a share is taken of all that are ever there.
    """
    value, row = observed.mean(axis=1), coverage.present.astype(np.float64)
    stripe = np.searchsorted(owners, coverage.items) if stripes > 1 else 0 * coverage.items
    clock = coverage.stream.schema.clock
    if clock is not None and (last - first) // clock.period <= 2 * _NUM_BINS:
        middles = first + (np.arange(_NUM_BINS) + 0.5) * ((last - first) / _NUM_BINS)
        return _look_up(coverage, value, row, middles.astype(np.int64), owners, stripes)
    scale = _NUM_BINS / max(1, last - first)
    bins = np.minimum(((coverage.starts - first) * scale).astype(np.int64), _NUM_BINS - 1)
    place = stripe * _NUM_BINS + bins
    size, shape = stripes * _NUM_BINS, (stripes, _NUM_BINS)
    values = np.bincount(place, value, size).reshape(shape)
    rows = np.bincount(place, row, size).reshape(shape)
    if clock is None:
        # How many events there should be nobody knows: the usual number of a bin is dark.
        usual = max(1.0, float(np.quantile(rows[rows > 0], 0.5)))
        return np.minimum(values / usual, 1), np.minimum(rows / usual, 1)
    # A bin is due as many places as the grid has in it, which is one more here and there.
    least = int((last - first) / _NUM_BINS / clock.period) * (1 if stripes > 1 else len(owners))
    due = np.maximum(np.bincount(place, minlength=size).reshape(shape), least)
    return values / due, rows / due


def _look_up(
    coverage: Coverage,
    value: Array,
    row: Array,
    moments: npt.NDArray[np.int64],
    owners: npt.NDArray[np.int64],
    stripes: int,
) -> tuple[Array, Array]:
    """Find the row of each item that covers a moment."""
    stream = coverage.stream
    assert stream.schema.clock is not None
    found = np.zeros((2, stripes, len(moments)))
    for place, owner in enumerate(owners.tolist()):
        since = stream.schema.clock.elapsed(stream.first_time[owner], torch.from_numpy(moments))
        begin, end = int(stream.begin[owner]), int(stream.end[owner])
        rows = since.numpy() + begin
        inside = (rows >= begin) & (rows < end)
        stripe, rows = place if stripes > 1 else 0, np.where(inside, rows, 0)
        found[0, stripe] += np.where(inside, value[rows], 0)
        found[1, stripe] += np.where(inside, row[rows], 0)
    found /= 1 if stripes > 1 else len(owners)
    return found[0], found[1]


def _draw_target(axes: Axes, dataset: Dataset, coverage: Coverage, first: int, last: int) -> None:
    """Draw the first target: its mean in each bin, and where nine of ten values lie."""
    name = dataset.schema.target_columns[0]
    names = [column.name for column in coverage.stream.schema.columns]
    values = coverage.values(names.index(name))
    known = np.isfinite(values)
    edges = _target_edges(dataset, first, last)
    num_bins = len(edges) - 1
    place = np.searchsorted(edges, coverage.starts[known], side="right") - 1
    place = place.clip(0, num_bins - 1)
    order = np.lexsort((values[known], place))
    place, ranked = place[order], values[known][order]
    counts = np.bincount(place, minlength=num_bins)
    begin = np.cumsum(counts) - counts
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, ranked, num_bins) / counts
    low, high = (
        np.where(counts > 0, ranked[np.minimum(begin + level, len(ranked) - 1)], np.nan)
        for level in ((0.05 * (counts - 1)).round().astype(int).clip(0),
                      (0.95 * (counts - 1)).round().astype(int).clip(0))
    )  # fmt: skip
    times = _to_times((edges[:-1] + edges[1:]) / 2)
    style_axes(axes)
    if (counts > 1).any():
        axes.fill_between(times, low, high, color=GRID, linewidth=0, label="9 of 10 values")
    shown = "mean of the target" if (counts > 1).any() else "target"
    draw_series(axes, times, mean, shown, linewidth=0.8)
    axes.set_ylabel(name)
    axes.margins(y=0.08)


def _target_edges(dataset: Dataset, first: int, last: int) -> Array:
    """Return where bins begin and the last one ends: steps of the target, or many of them."""
    clock = dataset.schema.clock
    begin = torch.tensor(dataset.split.begin)
    before, after = (int(clock.elapsed(begin, moment)) for moment in (first, last - 1))
    if after - before + 1 > _NUM_BINS:
        return np.linspace(first, last, _NUM_BINS // 2 + 1)
    # Months differ in length: equal bins would leave some of them without a row.
    steps = torch.arange(before, after + 2)
    return clock.advance(begin, steps).numpy().astype(np.float64)


def _style_bands(axes: Axes, bands: list[_Band], height: float) -> None:
    style_axes(axes)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    middles = [band.top + _BAND / 2 for band in bands]
    axes.set_ylabel("streams")
    axes.set_yticks(middles, [_shorten(band.label) for band in bands])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(height + 0.45, 0)


def _draw_scale(axes: Axes, dataset: Dataset, first: int, height: float) -> None:
    """Draw how long context and horizon are, as a bar below the bands."""
    schema = dataset.schema
    start = torch.tensor(first)
    context = int(schema.clock.advance(start, schema.target.context_steps))
    end = int(schema.clock.advance(torch.tensor(context), schema.horizon))
    begin, middle, end_number = _to_numbers([first, context, end])
    y = height + 0.22
    axes.plot([begin, middle], [y, y], color=INK, linewidth=4, solid_capstyle="butt")
    axes.plot([middle, end_number], [y, y], color=MODEL, linewidth=4, solid_capstyle="butt")
    axes.annotate(
        f"context of {schema.target.context_steps:,} and horizon of {schema.horizon:,} steps "
        f"(a step is {schema.clock})",
        (end_number, y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=INK,
    )


def _draw_cuts(top: Axes, axes: Axes, dataset: Dataset, first: int, last: int) -> None:
    """Draw where the splits begin and end, with their names above."""
    split = dataset.split
    for cut in (split.validation, split.test, *([split.end] if split.end < last else [])):
        for panel in (top, axes):
            panel.axvline(_to_numbers([cut])[0], color=MUTED, linewidth=1.0, zorder=3)
    for name in SPLITS:
        begin, end = split.bounds(name)
        begin, end = max(begin, first), min(end, last)
        share = (end - begin) / (last - first)
        # A narrow split's name stands beside it rather than over another one's.
        where, side, nudge = (begin + end) / 2, "center", 0
        if share < 0.08:
            where, side, nudge = (begin, "left", 2) if name == "test" else (end, "right", -2)
        top.annotate(
            name,
            (_to_numbers([int(where)])[0], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(nudge, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontsize=9,
            color=INK,
        )


def _add_legend(figure: Figure, top: Axes) -> None:
    lines, labels = top.get_legend_handles_labels()
    # The mean first; a lone dot between gaps has the label of its line.
    own = dict(zip(reversed(labels), reversed(lines), strict=True))
    handles = [
        *(own[label] for label in sorted(own, reverse=True)),
        Patch(facecolor=_DARK, label="observed"),
        Patch(facecolor=_LIGHT, label="cell missing in a row that is there"),
        Patch(facecolor="white", edgecolor=MUTED, linewidth=0.6, label="nothing"),
    ]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.4,
    )


def _shorten(label: str) -> str:
    return label if len(label) <= 24 else f"{label[:22]}..."


def _to_times(moments: npt.ArrayLike) -> Times:
    return np.asarray(moments).astype(np.int64).astype("datetime64[us]")


def _to_numbers(moments: list[int]) -> list[float]:
    """Return times as matplotlib counts them, in days."""
    from matplotlib.dates import date2num

    # matplotlib's module of dates has no types.
    return [float(number) for number in date2num(_to_times(moments))]  # type: ignore[no-untyped-call]
