"""The picture of a backtest shows what was scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmts.backtest.cutoffs import choose_cutoffs
from mmts.backtest.run import backtest
from mmts.evaluation import BASELINES, MODEL
from mmts.plots import plot_backtest, to_png
from tests.backtest.worlds import opened


@pytest.mark.parametrize("num_windows", [1, 2, None])
def test_lines_are_the_errors(tiny: Path, num_windows: int | None) -> None:
    forecaster, dataset = opened(tiny)
    cutoffs = choose_cutoffs(dataset, "test", num_windows)
    found = backtest(forecaster, dataset, cutoffs, "test")
    figure = plot_backtest(found)
    left, right = figure.axes
    for axes, errors in (
        (left, {m: [c.scores[m]["load"].mae for c in found.cutoffs] for m in (MODEL, *BASELINES)}),
        (right, {m: [s.mae for s in found.by_step[m]["load"]] for m in (MODEL, *BASELINES)}),
    ):
        drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
        assert sorted(drawn) == sorted(errors.values())
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {MODEL, *BASELINES}
    assert to_png(figure).startswith(b"\x89PNG")
