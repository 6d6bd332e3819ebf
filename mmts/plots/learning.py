"""A picture of how the losses fell, and of how fast that went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mmts.plots.style import ACTUAL, INK, MODEL, MUTED, add_legend, new_figure, style_axes
from mmts.run_folders.history import Epoch

_MOST_MARKERS = 40
"""Epochs up to which each has a marker."""


def plot_learning(history: Sequence[Epoch]) -> Figure:
    """Draw train and validation loss by epoch with the best one marked, and windows a second.

    history: as `mmts.run_folders.history.read_history` gives it. Losses are means over all values,
    as the head measures them; that of the train split is a mean over the epoch, while the weights
    still change, and with dropout on, so that it may lie above the other.
    """
    figure = new_figure(8.5, 4.6, "Losses by epoch")
    losses, speed = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    style_axes(losses)
    style_axes(speed)
    marker = "o" if len(history) <= _MOST_MARKERS else None
    for name, label, color in (
        ("train_loss", "train (with dropout, while it learns)", MUTED),
        ("validation_loss", "validation", MODEL),
    ):
        epochs, values = _series(history, name)
        losses.plot(epochs, values, label=label, color=color, linewidth=1.7, marker=marker,
                    markersize=3.5)  # fmt: skip
    _mark_best(losses, history)
    losses.set_ylabel("loss")
    add_legend(figure, [losses])
    epochs, rates = _series(history, "windows_per_second")
    speed.plot(epochs, rates, color=INK, linewidth=1.3, marker=marker, markersize=3)
    speed.set_ylabel("windows/s")
    speed.set_ylim(0, 1.2 * max(rates, default=1.0))
    speed.yaxis.set_major_locator(MaxNLocator(3))
    speed.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    speed.set_xlabel(_say_waiting(history))
    speed.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    figure.align_ylabels([losses, speed])
    return figure


def _series(history: Sequence[Epoch], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(epoch.number, getattr(epoch, name)) for epoch in history]
    told = [(number, value) for number, value in found if value is not None]
    return np.array([x for x, _ in told]), np.array([y for _, y in told])


def _mark_best(axes: Axes, history: Sequence[Epoch]) -> None:
    epochs, values = _series(history, "validation_loss")
    if not len(values):
        return
    best = int(values.argmin())
    axes.plot(epochs[best], values[best], linestyle="none", marker="o", markersize=9,
              markerfacecolor="none", markeredgecolor=ACTUAL, markeredgewidth=1.8,
              label=f"best: {values[best]:.4g} after epoch {epochs[best]:.0f}")  # fmt: skip


def _say_waiting(history: Sequence[Epoch]) -> str:
    _, shares = _series(history, "wait_share")
    if not len(shares):
        return "epoch"
    share = PercentFormatter(1, decimals=1).format_pct(float(shares.mean()), 1)
    return f"epoch (of the time of training, {share} went into gathering batches)"
