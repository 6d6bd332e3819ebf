"""One trial after another: drawn, trained, and written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmts.config import ExperimentConfig
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset
from mmts.data.scaling import ColumnScaling
from mmts.errors import ConfigError, DataError, OutputError, TrainingError
from mmts.experiment import train
from mmts.training.assignment import TrainingData, Trial, read_training_data
from mmts.training.loader import OrderedBatches
from mmts.tuning.config import label
from mmts.tuning.folder import StudyFolder
from mmts.tuning.space import SearchedConfig
from mmts.tuning.study import OpenTrial, Study

logger = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 1024
# What a combination of settings may bring about. All else ends the study.
_FAILURES = (ConfigError, DataError, TrainingError)


class Trials:
    """Trains trials of a study in this process, on data that are read once.

    Only trials that search settings of the data make it read them again.
    """

    def __init__(
        self,
        searched: SearchedConfig,
        folder: StudyFolder,
        study: Study,
        runs: Path,
        parent_run_id: str | None,
        data: TrainingData | None = None,
    ) -> None:
        """Read the data, unless they were; runs: the folder of runs, for MLflow."""
        self.searched = searched
        self.folder = folder
        self.study = study
        self.runs = runs
        self.parent_run_id = parent_run_id
        self.data = read_training_data(searched.config.data) if data is None else data
        self.last_read: tuple[DataConfig, TrainingData] | None = None

    def run_next(self) -> int:
        """Train one trial, and write down what came of it, good or bad; returns its number.

        Whatever else is raised leaves the trial as one that was interrupted, or as failed where
        it would be raised again.
        """
        began = time.monotonic()
        trial = self.study.ask()
        try:
            self._train(trial)
        except _FAILURES as error:
            trial.fail(str(error), time.monotonic() - began)
        except OutputError:
            # A full disk says nothing of the settings: the trial is repeated when there is room.
            raise
        except Exception as error:  # Our own bug, which is raised again: the study goes on later.
            trial.fail(f"{type(error).__name__}: {error}", time.monotonic() - began)
            raise
        return trial.number

    def _train(self, trial: OpenTrial) -> None:
        logger.info("trial %d: %s", trial.number, describe_values(trial.values))
        config = self.searched.with_values(trial.values)
        data = self._read(config)

        result = train(
            config,
            self.folder.trial(trial.number),
            trial=Trial(
                name=self.folder.trial_name(trial.number),
                began=trial.keep_run_id,
                data=data,
                goes_on=trial.goes_on,
                params={key: _plain(value) for key, value in trial.values.items()},
                store=self.runs,
                parent_run_id=self.parent_run_id,
            ),
        )
        trial.end(result.best_loss, result.best_epoch, result.num_epochs, result.seconds)

    def _read(self, config: ExperimentConfig) -> TrainingData:
        """Return the data of a trial; raises ConfigError where its losses were of other values."""
        if config.data == self.searched.config.data:
            return self.data
        if self.last_read is None or self.last_read[0] != config.data:
            self.last_read = config.data, read_training_data(config.data)
        data = self.last_read[1]
        if not _is_measured_alike(self.data.dataset, data.dataset):
            raise ConfigError(
                "the validation windows, or the values of the target, are others than without "
                "what is searched: the loss could not be compared."
            )
        return data


def describe_values(values: Mapping[str, object]) -> str:
    """Return what a trial tries, in a line."""
    return ", ".join(f"{key}={say_value(value)}" for key, value in values.items())


def say_value(value: object) -> str:
    """Write a value for people: a number with few digits, a word without quotes."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else label(value)


def _plain(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float) else label(value)


def _is_measured_alike(one: Dataset, other: Dataset) -> bool:
    """Whether a validation loss is one of the same values of the same windows, in the same unit."""
    windows, others = one.origins["validation"], other.origins["validation"]
    return (
        one.items == other.items
        and torch.equal(windows.items, others.items)
        and torch.equal(windows.origins, others.origins)
        and _scales(one) == _scales(other)
        and all(
            torch.equal(mine.target_observed, theirs.target_observed)
            and torch.equal(
                mine.target.masked_fill(~mine.target_observed, 0.0),
                theirs.target.masked_fill(~theirs.target_observed, 0.0),
            )
            for mine, theirs in zip(_batches(one), _batches(other), strict=True)
        )
    )


def _scales(dataset: Dataset) -> list[ColumnScaling]:
    numbers = dataset.scaling[dataset.schema.target_stream].numbers
    return [numbers[column] for column in dataset.schema.target_columns]


def _batches(dataset: Dataset) -> OrderedBatches:
    return OrderedBatches(dataset.windows("validation"), _WINDOWS_AT_ONCE)
