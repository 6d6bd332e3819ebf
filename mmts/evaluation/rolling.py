"""Forecasting from every origin of a split, beside baselines that read the same windows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from mmts import metrics
from mmts.baselines.naive import choose_season, forecast_last_value, forecast_seasonal
from mmts.baselines.ridge import fit_ridge
from mmts.checkpoint import CheckpointInfo
from mmts.data.dataset import Dataset, load_streams
from mmts.data.gathering import WindowGatherer
from mmts.data.source_files import fingerprint, stream_paths
from mmts.data.windows import count_origins
from mmts.errors import DataError, raise_all
from mmts.evaluation.ablation import choose_ablation, describe_ablation, leave_out, shuffle
from mmts.evaluation.coverage import describe_calibration
from mmts.evaluation.report import (
    LAST_VALUE,
    MODEL,
    RIDGE,
    SEASONAL_NAIVE,
    Array,
    Evaluation,
    WindowForecasts,
)
from mmts.evaluation.scoring import Scorer
from mmts.forecasting import BATCH_SIZE, Forecaster
from mmts.linear.targets import collect_targets
from mmts.model import EdgeObserver

MEDIAN_NOTE = (
    "the model's median is fitted to absolute errors and the ridge to squared ones, which favours "
    "the model in MAE: compare RMSE as well"
)

logger = logging.getLogger(__name__)


def load_evaluation_data(
    info: CheckpointInfo, root: str | Path | None = None, without: Sequence[str] = ()
) -> Dataset:
    """Read the files of a training with the schema, scaling and split of its checkpoint.

    root: another folder that holds the files. without: streams whose files are not even opened,
    so that they need not exist; absent for every item. Logs a warning when a file has changed
    since. Raises DataError for any fault in the files.
    """
    config = info.config.data.with_usual_cache()
    if root is not None:
        config = config.model_copy(update={"root": str(root)})
    read = {name: stream for name, stream in config.streams.items() if name not in without}
    config = config.model_copy(update={"streams": read})
    streams, items = load_streams(
        config, info.data_schema, info.scaling, dict(stream_paths(config))
    )
    found = fingerprint(config)
    changed = [
        name
        for name, digest in info.fingerprint.items()
        if name not in without and found.get(name) != digest
    ]
    notes: tuple[str, ...] = ()
    if changed:
        notes = (f"the files of {', '.join(changed)} are not those that the model was trained on",)
        logger.warning("%s", notes[0])
    return Dataset(info.data_schema, info.scaling, streams, items, info.split, notes)


def evaluate(
    forecaster: Forecaster,
    dataset: Dataset,
    split: str = "test",
    without: Sequence[str] = (),
    shuffled: Sequence[str] = (),
) -> Evaluation:
    """Score a model and three baselines on every window of a split.

    split: `test` or `validation`; on the latter the model's epoch, the season and all about the
    ridge were chosen, so that its scores flatter all of them but last value. The baselines are
    fitted on the train split, as the model was. A model's point forecast is its median, and for
    RMSE its mean, where it has them.
    without: streams that are absent for the model and for the baselines, so that the ridge is
    fitted without them. shuffled: streams of which the model, and no baseline, reads the content
    in another order. The windows stay the same.
    Raises DataError when one of the splits read has no window, and for streams that cannot be
    left out or shuffled.
    """
    ablation = choose_ablation(dataset.schema, without, shuffled)
    dataset = leave_out(dataset, ablation.without)
    dates = {name: (first, end) for name, first, end in dataset.split.dates(dataset.schema)}
    gatherers = gather_splits(dataset, {"train", "validation", split})
    gatherer, validation = gatherers[split], gatherers["validation"]
    read = shuffle(dataset, ablation.shuffled)
    windows = forecast_windows(forecaster, read.windows(split) if ablation.shuffled else gatherer)
    season = choose_season(validation)
    ridge = fit_ridge(gatherers["train"], validation, dataset.category_sizes)
    baselines = {
        LAST_VALUE: forecast_last_value(gatherer),
        SEASONAL_NAIVE: forecast_seasonal(gatherer, season),
        RIDGE: ridge.forecast(gatherer),
    }
    scales = naive_scales(forecaster, dataset, season)
    scorer = Scorer(windows, scales, dataset.schema.target_columns)
    interval = metrics.outermost_interval(windows.quantile_levels)
    levels = windows.quantile_levels
    return Evaluation(
        targets=dataset.schema.target_columns,
        scores={
            MODEL: scorer.score_model(),
            **{
                name: scorer.score_point(forecaster.unscale_points(forecast))
                for name, forecast in baselines.items()
            },
        },
        split=split,
        dates=dates,
        num_windows=len(gatherer),
        num_values=int(windows.observed.sum()),
        step=str(dataset.schema.clock),
        season=season,
        ridge=ridge.fit.choices(),
        quantile_levels=levels,
        nominal_coverage=levels[interval[1]] - levels[interval[0]] if interval else None,
        calibration=describe_calibration(forecaster.info) if len(levels) > 1 else None,
        notes=(
            *dataset.notes,
            *describe_ablation(dataset, ablation),
            *_describe_skipped(dataset, split, windows, scales),
            *([MEDIAN_NOTE] if "0.5" in windows.outputs else []),
        ),
        epoch=forecaster.info.epoch,
        run_id=forecaster.info.run_id,
        windows=windows,
        ablation=ablation,
    )


def gather_splits(dataset: Dataset, splits: Collection[str]) -> dict[str, WindowGatherer]:
    """Return the windows of these splits; raises DataError when one of them has none."""
    gatherers = {name: dataset.windows(name) for name in splits}
    raise_all(
        DataError,
        (
            f"no window of the {name} split, {first} to {end}, has a full context and a "
            "target value in the files given. Give the files of the training."
            for name, first, end in dataset.split.dates(dataset.schema)
            if name in gatherers and len(gatherers[name]) == 0
        ),
    )
    return gatherers


def forecast_windows(
    forecaster: Forecaster,
    gatherer: WindowGatherer,
    observer: EdgeObserver | None = None,
    batch_size: int = BATCH_SIZE,
) -> WindowForecasts:
    """Forecast all windows, beside what came; observer: as in `Forecaster.predict_windows`."""
    targets, observed = collect_targets(gatherer)
    return WindowForecasts(
        items=gatherer.windows.items.numpy(),
        origins=gatherer.windows.origins.numpy(),
        forecast=forecaster.predict_windows(gatherer, observer, batch_size),
        actual=forecaster.unscale_points(targets),
        observed=observed.numpy(),
        outputs=forecaster.model.outputs,
    )


def naive_scales(forecaster: Forecaster, dataset: Dataset, season: int) -> Array:
    """Return the scale of MASE of every series from the train split alone, (item, target)."""
    stream = dataset.streams[dataset.schema.target_stream]
    channels = stream.schema.channels("target")
    scales = np.full((len(dataset.items), len(channels)), np.nan)
    for item in range(len(dataset.items)):
        times = stream.times(item)
        ends = dataset.schema.clock.advance(times, 1)
        num_known = int((ends <= dataset.split.validation).sum())
        values = forecaster.unscale_points(stream.history(item)[:num_known, channels])
        observed = np.isfinite(values)
        for target in range(len(channels)):
            scales[item, target] = metrics.seasonal_naive_scale(
                values[:, target], observed[:, target], season
            )
    return scales


def _describe_skipped(
    dataset: Dataset, split: str, windows: WindowForecasts, scales: Array
) -> Iterator[str]:
    missing = int((~windows.observed).sum())
    if missing:
        yield (
            f"{missing:,} of {windows.observed.size:,} target values in the windows are missing "
            "and not scored"
        )
    target = dataset.streams[dataset.schema.target_stream]
    num_windows = len(windows.origins)
    counts = count_origins(target, dataset.schema, *dataset.split.bounds(split), num_windows)
    without = counts.total - num_windows
    if without:
        yield (
            f"{without:,} origins of the split have no full context behind them, or no target "
            "value in their horizon that was known in time, and are left out"
        )
    undefined = [
        f"{dataset.items[item]} ({dataset.schema.target_columns[target]})"
        for item, target in np.argwhere(np.isnan(scales))
    ]
    if undefined:
        yield (
            f"MASE leaves out {len(undefined)} series whose seasonal naive error on the train "
            f"split is zero or has no pair of values: {', '.join(undefined[:5])}"
            f"{', ...' if len(undefined) > 5 else ''}"
        )
