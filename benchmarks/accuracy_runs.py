"""One run of the accuracy benchmark: an arm fitted or trained, and the test split read once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from accuracy_data import PRIOR_COLUMN, PreparedSet, check_windows
from paired_intervals import Array
from real_runs import Job, Record, standardised_errors, train_and_forecast
from torch import Tensor

from mmts.baselines.naive import choose_season, forecast_last_value, forecast_seasonal
from mmts.baselines.ridge import fit_ridge
from mmts.baselines.ridge_forms import ALL_FROM_LAST, FORMS, OWN_FROM_LAST
from mmts.baselines.targets import collect_targets
from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.gathering import WindowGatherer

LAST_VALUE, SEASONAL_NAIVE, SEASONAL_PRIOR = "last value", "seasonal naive", "seasonal prior"
OWN_RIDGE = "ridge, own past"
"""Each target's own past less its last value, one map for all targets."""
EXOGENOUS_RIDGE = "ridge, own past and exogenous"
"""The past less its last value, and the exogenous columns as far as they are known."""
CHOSEN_RIDGE = "ridge, form chosen on validation"
"""As `mmts evaluate` shows it, from all numbers that the model reads."""
FILLED_RIDGE = "ridge, filled forward"
"""The same, with every gap of the past filled by the value before it."""
RIDGE_FORMS = {
    OWN_RIDGE: (OWN_FROM_LAST,),
    EXOGENOUS_RIDGE: (ALL_FROM_LAST,),
    CHOSEN_RIDGE: FORMS,
    FILLED_RIDGE: FORMS,
}
BASELINES = (LAST_VALUE, SEASONAL_NAIVE, SEASONAL_PRIOR, *RIDGE_FORMS)


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
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        "settings": job.settings,
        **found,
    }


def _run_model(config: ExperimentConfig, dataset: Dataset, variant: str) -> Record:
    """Train by the recipe that a user would take; its best epoch is that of the checkpoint.

    One point forecast is scored by both measures, as those published are: the mean where the head
    has one, and else the median.
    """
    result, forecasts = train_and_forecast(config, dataset)
    scores = {
        split: score(
            standardised_errors(windows, dataset, "mean", "0.5"), windows.observed, windows.items,
            dataset,
        )
        for split, windows in forecasts.items()
    }  # fmt: skip
    return {
        "num_weights": result.num_parameters,
        "best_epoch": result.best_epoch,
        "num_epochs": result.num_epochs,
        "validation_loss": result.best_loss,
        **scores,
    }


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
            ridge = fit_ridge(
                dataset.windows("train"), validation, dataset.scaling, RIDGE_FORMS[variant]
            )
            forecast, chosen = ridge.forecast, f"{ridge.form}; penalty {ridge.penalty:g}"
    scores = {}
    for split in ("validation", "test"):
        windows = dataset.windows(split)
        targets, observed = collect_targets(windows)
        missed = (forecast(windows) - targets).numpy().astype(np.float64)
        scores[split] = score(missed, observed.numpy(), windows.windows.items.numpy(), dataset)
    return {"chosen": chosen, **scores}


def forecast_prior(dataset: Dataset, windows: WindowGatherer) -> Tensor:
    """Read the seasonal prior over the horizon, (window, horizon, target), on the target's scale.

    It is the mean of earlier years at each time of the year, as the data set gives it.
    """
    (stream,) = (n for n, s in dataset.schema.streams.items() if PRIOR_COLUMN in _names(s.columns))
    own = dataset.scaling[stream].numbers[PRIOR_COLUMN]
    (target_column,) = dataset.schema.target_columns
    target = dataset.scaling[dataset.schema.target_stream].numbers[target_column]
    horizon = dataset.schema.horizon
    pieces = [batch.streams[stream].values[:, -horizon:] for batch in windows.batches(512)]
    return (torch.cat(pieces) * own.scale + own.mean - target.mean) / target.scale


def _names(columns: object) -> list[str]:
    return [column.name for column in columns]  # type: ignore[attr-defined]


def score(
    missed: Array,
    observed: npt.NDArray[np.bool_],
    items: npt.NDArray[np.int32],
    dataset: Dataset,
) -> Record:
    """Return MSE and MAE over all observed values of all windows, and of each item.

    missed, observed: (window, horizon, target). items: (window,).
    """
    found = _errors(missed, observed)
    found["num_windows"] = len(missed)
    if len(dataset.items) > 1:
        found["by_item"] = {
            name: _errors(missed[items == place], observed[items == place])
            for place, name in enumerate(dataset.items)
        }
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
