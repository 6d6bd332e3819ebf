"""One run of the comparison: train, choose the epoch on validation, read the test split once."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from paired_intervals import Array, cut_blocks, sum_by_block

from mmts.baselines.naive import choose_season, forecast_last_value, forecast_seasonal
from mmts.baselines.ridge import fit_ridge
from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.evaluation import BASELINES, WindowForecasts, forecast_windows
from mmts.experiment import train
from mmts.files import write_whole
from mmts.forecasting import Forecaster
from mmts.linear.targets import collect_targets
from mmts.training.assignment import TrainingResult

FORMAT = 3
"""Raised when a run would give other numbers, or other fields, from the same settings."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What one process is asked for.

    variant: of a model, or a baseline; its settings are then those of the set, for the data.
    files: hash of each stream's files as the set has them. folders: paths that change from call
    to call, by names that do not.
    """

    set_name: str
    variant: str
    seed: int
    num_weights: int
    settings: dict[str, Any]
    files: dict[str, str]
    folders: dict[str, str]

    @property
    def digest(self) -> str:
        """A hash of all that decides over the numbers, but the code."""
        text = json.dumps([FORMAT, self.variant, self.settings, self.files])
        for name, folder in self.folders.items():
            text = text.replace(folder, name)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_job(job: Job) -> Record:
    """Train and score one model, or fit and score one baseline."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.ERROR)
    began, began_cpu = time.monotonic(), time.process_time()
    config = ExperimentConfig.model_validate(job.settings)
    found = run_baseline(config, job.variant) if job.variant in BASELINES else run_model(config)
    return {
        "set": job.set_name,
        "variant": job.variant,
        "seed": job.seed,
        "digest": job.digest,
        "num_weights": job.num_weights,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        **found,
    }


def run_model(config: ExperimentConfig) -> Record:
    """Train by the recipe that a user would take, and score the best epoch's checkpoint."""
    dataset = load_dataset(config.data)
    result, _, forecasts = train_and_forecast(config, dataset)
    scores = {}
    for split, windows in forecasts.items():
        median, mean = (
            standardise(windows.point(*outputs) - windows.actual, dataset)
            for outputs in (("0.5", "mean"), ("mean", "0.5"))
        )
        scores[split] = score(median, mean, windows.observed, windows.origins, dataset)
    return {"best_epoch": result.best_epoch, "validation_loss": result.best_loss, **scores}


def train_and_forecast(
    config: ExperimentConfig, dataset: Dataset
) -> tuple[TrainingResult, ExperimentConfig, dict[str, WindowForecasts]]:
    """Train in a folder that is left behind by nobody; forecast all of validation and test.

    The config that comes back holds what was chosen for it.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run")
        forecaster = Forecaster.from_checkpoint(result.checkpoint)
        if torch.cuda.is_available() and config.training.accelerator in ("auto", "gpu"):
            # Where it was trained; thousands of windows take minutes on one core.
            forecaster.model.to("cuda")
        forecasts = {
            split: forecast_windows(forecaster, dataset.windows(split))
            for split in ("validation", "test")
        }
        return result, forecaster.info.config, forecasts


def standardise(missed: Array, dataset: Dataset) -> Array:
    """Return (window, horizon, target) in the train split's standard deviations.

    As the literature has it.
    """
    numbers = dataset.scaling[dataset.schema.target_stream].numbers
    return missed / [numbers[column].scale for column in dataset.schema.target_columns]


def run_baseline(config: ExperimentConfig, name: str) -> Record:
    """Score one baseline, which reads what the models read."""
    dataset = load_dataset(config.data)
    validation = dataset.windows("validation")
    match name:
        case "ridge":
            forecast = fit_ridge(
                dataset.windows("train"), validation, dataset.category_sizes
            ).forecast
        case "seasonal naive":
            forecast = partial(forecast_seasonal, season=choose_season(validation))
        case _:
            forecast = forecast_last_value
    scores = {}
    for split in ("validation", "test"):
        windows = dataset.windows(split)
        targets, observed = collect_targets(windows)
        missed = (forecast(windows) - targets).numpy().astype(np.float64)
        origins = windows.windows.origins.numpy()
        scores[split] = score(missed, missed, observed.numpy(), origins, dataset)
    return {"best_epoch": None, "validation_loss": None, **scores}


def score(
    median_missed: Array,
    mean_missed: Array,
    observed: npt.NDArray[np.bool_],
    origins: npt.NDArray[np.int64],
    dataset: Dataset,
) -> Record:
    """Return mean absolute and mean squared error, and their sums by block of origins.

    median_missed, mean_missed: (window, horizon, target), what the forecasts missed by, on the
    scale of the training split; the absolute error is that of the median, the squared one that of
    the mean, where a model tells them apart. observed: likewise. origins: (window,).
    """
    blocks = cut_blocks(origins, dataset.schema.horizon * dataset.schema.frequency)
    absolute = sum_by_block(np.where(observed, np.abs(median_missed), 0.0), blocks)
    squared = sum_by_block(np.where(observed, mean_missed**2, 0.0), blocks)
    count = int(observed.sum())
    return {
        "mae": float(absolute.sum()) / count,
        "mse": float(squared.sum()) / count,
        "num_windows": len(origins),
        "num_values": count,
        "absolute": [round(total, 4) for total in absolute.tolist()],
        "squared": [round(total, 4) for total in squared.tolist()],
    }


class ResultsFile:
    """Finished runs, written whole after each; other runs that stand there stay."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self.runs: list[Record] = []
        if path.exists():
            self.runs = json.loads(path.read_text(encoding="utf-8"))["runs"]

    def find(self, job: Job) -> Record | None:
        """Return the latest run of the same settings, if there is one."""
        key = (job.set_name, job.variant, job.seed, job.digest)
        found = (
            run
            for run in reversed(self.runs)
            if (run["set"], run["variant"], run["seed"], run["digest"]) == key
        )
        return next(found, None)

    def add(self, run: Record) -> None:
        """Keep one more run."""
        self.runs.append(run)
        lines = ",\n".join(json.dumps(found) for found in self.runs)
        write_whole(self.path, f'{{"runs": [\n{lines}\n]}}\n')
