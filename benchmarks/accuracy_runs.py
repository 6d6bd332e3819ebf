"""One run of the accuracy benchmark: an arm fitted or trained, and the test split read once."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from accuracy_data import PRIOR, PRIOR_COLUMN, PreparedSet, check_windows
from paired_intervals import Array
from real_runs import Job, Record, standardise, train_and_forecast
from torch import Tensor

from mmts.baselines.naive import choose_season, forecast_last_value, forecast_seasonal
from mmts.baselines.ridge import RIDGE, RidgeForecaster, fit_ridge
from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.evaluation import WindowForecasts
from mmts.linear.path import LinearConfig
from mmts.linear.targets import collect_targets

RECIPE = 2
"""Of models and ridges, written down in each run; raised when a change of the code makes other
forecasts from the same settings, so that runs before are made again."""

MODEL = "model"
OF_MEAN = ", mean"
"""Ends the name of scores that are those of the mean, and not of the median."""
LAST_VALUE, SEASONAL_NAIVE, SEASONAL_PRIOR = "last value", "seasonal naive", "seasonal prior"
OWN_RIDGE = "ridge, own past"
"""Each target's own past less its last value, one map for all targets."""
EXOGENOUS_RIDGE = "ridge, own past and exogenous"
"""The past less its last value, with the exogenous columns as far as they are known."""
CHOSEN_RIDGE = "ridge, form chosen on validation"
"""As `mmts evaluate` shows it, from all numbers that the model reads."""
FILLED_RIDGE = "ridge, filled forward"
"""From all columns with every gap of the past filled by the value before it."""
FIXED_RIDGE = "ridge, penalty of 10"
"""The first of these two that suits the set, with a penalty on the sum over rows that is the same
for all sets; it gives the published figures again, and no choice enters it."""
FIXED_PENALTY = 10.0
FROM_LAST = LinearConfig(
    loss="squares", contexts="whole", level="last", reads="own", recent=1.0, units="train"
)
ALL_FROM_LAST = FROM_LAST.model_copy(update={"reads": "all"})
RIDGE_FORMS = {
    OWN_RIDGE: FROM_LAST,
    EXOGENOUS_RIDGE: ALL_FROM_LAST,
    CHOSEN_RIDGE: RIDGE,
    FILLED_RIDGE: ALL_FROM_LAST.model_copy(update={"level": "auto"}),
}
NAIVE = (LAST_VALUE, SEASONAL_NAIVE, SEASONAL_PRIOR)
BASELINES = (*NAIVE, FIXED_RIDGE, *RIDGE_FORMS)


@dataclass(frozen=True)
class AccuracyJob:
    """A job, and the set whose protocol it is held against."""

    job: Job
    prepared: PreparedSet
    horizon: int


def run_accuracy_job(asked: AccuracyJob) -> Record:
    """Fit or train one arm and score it; raises DataError when the windows are not those asked."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.ERROR)
    began, began_cpu = time.monotonic(), time.process_time()
    job = asked.job
    config = ExperimentConfig.model_validate(job.settings)
    dataset = load_dataset(config.data)
    check_windows(asked.prepared, asked.horizon, dataset)
    run = _run_baseline if job.variant in BASELINES else _run_model
    found = run(config, dataset, job.variant)
    return {
        "set": job.set_name,
        "variant": job.variant,
        "seed": job.seed,
        "digest": job.digest,
        "horizon": asked.horizon,
        "recipe": RECIPE,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        "settings": _without_folders(job),
        **found,
    }


def is_current(run: Record) -> bool:
    """Tell whether a run is of the recipe as it is, or of a baseline that knows none."""
    return run["variant"] in NAIVE or run.get("recipe") == RECIPE


def _without_folders(job: Job) -> Record:
    """Return the settings with names in place of the folders of this machine."""
    text = json.dumps(job.settings)
    for name, folder in job.folders.items():
        text = text.replace(folder, name)
    settings: Record = json.loads(text)
    return settings


def _run_model(config: ExperimentConfig, dataset: Dataset, variant: str) -> Record:
    """Train by the recipe that a user would take; its best epoch is that of the checkpoint.

    The median is scored by both measures, as those published are, and beside it the mean that
    three quantiles tell.
    """
    result, settled, forecasts = train_and_forecast(config, dataset)
    points = {"": median_of, OF_MEAN: mean_of}
    scores = {
        f"{split}{ending}": score(
            standardise(point(windows) - windows.actual, dataset), windows.observed, dataset
        )
        for split, windows in forecasts.items()
        for ending, point in points.items()
    }
    linear = settled.model.linear
    return {
        "linear": None if linear is None else linear.model_dump(mode="json"),
        "num_weights": result.num_parameters,
        "best_epoch": result.best_epoch,
        "num_epochs": result.num_epochs,
        "validation_loss": result.best_loss,
        **scores,
    }


def median_of(windows: WindowForecasts) -> Array:
    """Return the median, (window, horizon, target)."""
    return windows.point("0.5")


def mean_of(windows: WindowForecasts) -> Array:
    """Return the mean that the quantiles .1, .5 and .9 tell, (window, horizon, target).

    Swanson's rule, good for skewed distributions: Keefer and Bodily, Three-point approximations
    for continuous random variables, Management Science 29 (1983).
    """
    low, middle, high = (windows.point(level) for level in ("0.1", "0.5", "0.9"))
    return 0.3 * low + 0.4 * middle + 0.3 * high


def _run_baseline(config: ExperimentConfig, dataset: Dataset, variant: str) -> Record:
    """Fit on the train split, choose on validation."""
    validation, chosen = dataset.windows("validation"), ""
    match variant:
        case "last value":
            forecast = forecast_last_value
        case "seasonal naive":
            season = choose_season(validation)
            forecast, chosen = partial(forecast_seasonal, season=season), f"season {season} steps"
        case "seasonal prior":
            forecast = partial(forecast_prior, dataset)
        case _:
            ridge = _fit_ridge(dataset, variant)
            forecast, chosen = ridge.forecast, json.dumps(ridge.fit.choices())
    scores = {}
    for split in ("validation", "test"):
        windows = dataset.windows(split)
        targets, observed = collect_targets(windows)
        missed = (forecast(windows) - targets).numpy().astype(np.float64)
        scores[split] = score(missed, observed.numpy(), dataset)
    return {"chosen": chosen, **scores}


def _fit_ridge(dataset: Dataset, variant: str) -> RidgeForecaster:
    train, validation = dataset.windows("train"), dataset.windows("validation")
    if variant != FIXED_RIDGE:
        return fit_ridge(train, validation, dataset.category_sizes, RIDGE_FORMS[variant])
    # Exogenous columns are all that there can be beside the target.
    is_alone = len(dataset.schema.streams) == 1
    num_rows = len(train) * (len(dataset.schema.target_columns) if is_alone else 1)
    form = FROM_LAST if is_alone else ALL_FROM_LAST
    penalties = (FIXED_PENALTY / num_rows,)
    return fit_ridge(train, validation, dataset.category_sizes, form, penalties)


def forecast_prior(dataset: Dataset, windows: WindowGatherer) -> Tensor:
    """Read the seasonal prior over the horizon, (window, horizon, target), on the target's scale.

    It is the mean of earlier years at each time of the year, as the data set gives it.
    """
    own = dataset.scaling[PRIOR].numbers[PRIOR_COLUMN]
    (target_column,) = dataset.schema.target_columns
    target = dataset.scaling[dataset.schema.target_stream].numbers[target_column]
    horizon = dataset.schema.horizon
    pieces = [batch.streams[PRIOR].values[:, -horizon:] for batch in windows.batches(512)]
    return (torch.cat(pieces) * own.scale + own.mean - target.mean) / target.scale


def score(missed: Array, observed: npt.NDArray[np.bool_], dataset: Dataset) -> Record:
    """Return MSE and MAE over all observed values of all windows, and of each of several targets.

    missed, observed: (window, horizon, target).
    """
    found = _errors(missed, observed)
    found["num_windows"] = len(missed)
    if len(dataset.schema.target_columns) > 1:
        found["by_target"] = {
            name: _errors(missed[..., place], observed[..., place])
            for place, name in enumerate(dataset.schema.target_columns)
        }
    return found


def _errors(missed: Array, observed: npt.NDArray[np.bool_]) -> Record:
    kept = missed[observed]
    if not len(kept):
        return {"mse": None, "mae": None, "num_values": 0}
    return {
        "mse": float((kept**2).mean()),
        "mae": float(np.abs(kept).mean()),
        "num_values": len(kept),
    }
