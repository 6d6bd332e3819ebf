"""From forecasts at cut-offs to scores, a long table, and what to know about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mmts import metrics
from mmts.backtest.comparison import compare
from mmts.backtest.cutoffs import Cutoffs
from mmts.backtest.forecasts import CutoffForecasts, pool
from mmts.backtest.report import Backtest, CutoffScores
from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.data.times import format_times
from mmts.evaluation.report import (
    ALL_TARGETS,
    BASELINES,
    MODEL,
    Array,
    TargetScores,
    WindowForecasts,
)
from mmts.evaluation.rolling import MEDIAN_NOTE
from mmts.evaluation.scoring import Scorer


def score_backtest(
    dataset: Dataset,
    cutoffs: Cutoffs,
    forecasts: list[CutoffForecasts],
    split: str,
    run_id: str | None,
    is_refit: bool,
) -> Backtest:
    """Score what was forecast from each cut-off, and from all of them by step."""
    schema = dataset.schema
    targets = schema.target_columns
    names = targets if len(targets) == 1 else (*targets, ALL_TARGETS)
    by_cutoff = [_score(found, targets) for found in forecasts]
    together = pool(forecasts)
    pooled = _score(together, targets)
    by_step = together.windows.observed.sum(axis=0)
    words = _words(schema, np.array([found.cutoff for found in forecasts]))
    windows = forecasts[0].windows
    levels = windows.quantile_levels
    interval = metrics.outermost_interval(levels)
    places = schema.clock.places(np.array([found.cutoff for found in forecasts]))

    def errors(method: str, target: str) -> Array:
        return np.array([scores[method][target].overall.mae for scores in by_cutoff])

    return Backtest(
        targets=targets,
        split=split,
        is_refit=is_refit,
        step=cutoffs.step,
        frequency=str(schema.clock),
        cutoffs=tuple(
            CutoffScores(
                cutoff=str(word),
                num_items=len(np.unique(found.windows.items)),
                num_values=_by_target(found.windows.observed.sum(axis=(0, 1)), names),
                season=found.season,
                ridge=found.ridge,
                num_train_windows=found.num_train_windows,
                epoch=found.epoch,
                scores={
                    method: {name: of_target[name].overall for name in names}
                    for method, of_target in scores.items()
                },
            )
            for word, found, scores in zip(words, forecasts, by_cutoff, strict=True)
        ),
        by_step={
            method: {name: of_target[name].by_step for name in names}
            for method, of_target in pooled.items()
        },
        values_by_step={
            name: tuple(_by_target(counts, names)[name] for counts in by_step) for name in names
        },
        comparisons={
            name: {
                method: compare(
                    errors(MODEL, name),
                    errors(method, name),
                    places,
                    schema.horizon,
                )
                for method in BASELINES
            }
            for name in names
        },
        forecasts=_long_table(dataset, forecasts, words),
        nominal_coverage=levels[interval[1]] - levels[interval[0]] if interval else None,
        notes=(*dataset.notes, *_describe(dataset, cutoffs, forecasts, split, is_refit)),
        run_id=run_id,
    )


def _score(found: CutoffForecasts, targets: tuple[str, ...]) -> dict[str, dict[str, TargetScores]]:
    scorer = Scorer(found.windows, found.scales, targets)
    points = {name: scorer.score_point(point) for name, point in found.baselines.items()}
    return {MODEL: scorer.score_model(), **points}


def _by_target(counts: npt.NDArray[np.int64], names: tuple[str, ...]) -> dict[str, int]:
    """Return counts, (target,), by name; a further name is that of all targets together."""
    return dict(zip(names, [*map(int, counts), int(counts.sum())], strict=False))


def _long_table(
    dataset: Dataset, forecasts: list[CutoffForecasts], words: npt.NDArray[np.object_]
) -> pd.DataFrame:
    """Return a row per method, cut-off, item, target and step; empty where no value came.

    `forecast` is what MAE is taken of. The model's rows hold all of its outputs besides.
    """
    parts = []
    for word, found in zip(words, forecasts, strict=True):
        windows = found.windows
        points = {MODEL: windows.point("0.5", "mean"), **found.baselines}
        for method, point in points.items():
            table = _index(dataset, windows)
            table.insert(0, "method", method)
            table.insert(1, "cutoff", str(word))
            table["forecast"] = point.reshape(-1)
            table["actual"] = np.where(windows.observed, windows.actual, np.nan).reshape(-1)
            for place, output in enumerate(windows.outputs):
                own = windows.forecast[..., place].reshape(-1)
                table[output] = own if method == MODEL else np.nan
            parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    # All of one method behind one another, in the order of the cut-offs.
    order = table["method"].map({name: place for place, name in enumerate((MODEL, *BASELINES))})
    return table.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def _index(dataset: Dataset, windows: WindowForecasts) -> pd.DataFrame:
    schema = dataset.schema
    num_windows, horizon, num_targets = windows.actual.shape
    stamps = schema.step_stamps(torch.from_numpy(windows.origins)).numpy()
    names = np.array(dataset.items, dtype=object)[windows.items]
    return pd.DataFrame(
        {
            "item_id": np.repeat(names, horizon * num_targets),
            "target": np.tile(np.array(schema.target_columns, object), num_windows * horizon),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), num_targets), num_windows),
            "timestamp": np.repeat(_words(schema, stamps.reshape(-1)), num_targets),
        }
    )


def _words(schema: DataSchema, times: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    return format_times(times, schema.has_time_zone, schema.time_zone)


def _describe(
    dataset: Dataset,
    cutoffs: Cutoffs,
    forecasts: list[CutoffForecasts],
    split: str,
    is_refit: bool,
) -> Iterator[str]:
    schema = dataset.schema
    if split == "validation" and not is_refit:
        yield (
            "the model's epoch, the season and all about the ridge were chosen on the validation "
            "split, which flatters all of them but last value"
        )
    if is_refit:
        yield (
            "the config is that of the checkpoint, with its linear path left open again: settings "
            "that were chosen by looking at later data stay chosen"
        )
    if cutoffs.step < schema.horizon and len(forecasts) > 1:
        yield (
            "the cut-offs are less than a horizon apart: most values are forecast several times, "
            "and the deviation says less than it seems to"
        )
    if cutoffs.empty:
        shown = ", ".join(_words(schema, np.array(cutoffs.empty[:5])))
        yield (
            f"{len(cutoffs.empty)} cut-offs without any window are left out: {shown}"
            f"{', ...' if len(cutoffs.empty) > 5 else ''}"
        )
    present = [len(np.unique(found.windows.items)) for found in forecasts]
    if min(present) < len(dataset.items):
        many = str(present[0]) if len(set(present)) == 1 else f"{min(present)} to {max(present)}"
        yield (
            f"{many} of {len(dataset.items)} items have a window at a cut-off: a full context, and "
            "a target value in the horizon"
        )
    size = sum(found.windows.observed.size for found in forecasts)
    missing = size - sum(int(found.windows.observed.sum()) for found in forecasts)
    if missing:
        yield f"{missing:,} of {size:,} target values in the windows are missing and not scored"
    yield from _describe_unscaled(dataset, forecasts)
    if "0.5" in forecasts[0].windows.outputs:
        yield MEDIAN_NOTE


def _describe_unscaled(dataset: Dataset, forecasts: list[CutoffForecasts]) -> Iterator[str]:
    """Name the series that have no scale of MASE at some cut-off at which they are scored."""
    undefined: dict[str, int] = {}
    for found in forecasts:
        for item in np.unique(found.windows.items):
            for target in np.flatnonzero(np.isnan(found.scales[item])):
                name = f"{dataset.items[item]} ({dataset.schema.target_columns[target]})"
                undefined[name] = undefined.get(name, 0) + 1
    if undefined:
        yield (
            f"MASE leaves out {len(undefined)} series, at some cut-offs or all, whose seasonal "
            "naive error on the train split is zero or has no pair of values: "
            f"{', '.join(list(undefined)[:5])}{', ...' if len(undefined) > 5 else ''}"
        )
