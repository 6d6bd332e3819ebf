"""One experiment from config to checkpoint."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmts.calibration.config import CalibrationConfig
from mmts.calibration.fitting import calibrate, require_enough_windows
from mmts.checkpoint import CheckpointInfo, current_versions, own_kinds, save_checkpoint
from mmts.config import ExperimentConfig
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, fingerprint, load_dataset
from mmts.errors import DataError, OutputError, TrainingError
from mmts.files import make_folder, output_error, write_whole
from mmts.folder_lock import hold_folder, is_empty
from mmts.forecasting import Forecaster
from mmts.model import MultimodalForecaster
from mmts.tracking.run import Status, start_run
from mmts.tracking.system_metrics import SystemMetrics
from mmts.tracking.training_page import (
    TrainingOutcome,
    describe_run,
    record_error,
    record_outcome,
    record_pictures,
    record_setup,
)
from mmts.training.joining import joined_by_torchrun
from mmts.training.linear_start import LinearFits, start_model
from mmts.training.processes import Processes, find_processes, muted
from mmts.training.team import Team

_RUNS = "runs"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves behind.

    checkpoint: best.mmts, in the run's own folder. run_id: of MLflow; None when the run is not
    tracked. num_epochs: trained; best_epoch: the one that is kept, 0 for what training starts
    from, with the linear path alone. best_loss: on validation. seconds: in all, reading included.
    """

    checkpoint: Path
    run_id: str | None
    num_parameters: int
    num_epochs: int
    best_epoch: int
    best_loss: float
    seconds: float

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.checkpoint.parent


@dataclass(frozen=True)
class TrainingData:
    """What a training reads.

    hashes: SHA-256 of what each stream was read from. linear_fits: found so far, as several
    trainings may begin with the same.
    """

    dataset: Dataset
    hashes: dict[str, str]
    linear_fits: LinearFits = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What makes a training one trial of a study.

    name: of its run in MLflow. began: told the id of that run, or None.
    data: read before, as several trials share them.
    goes_on: told the number of each epoch, from 1, and its validation loss; answers whether there
    shall be another one. params: what is tried, by key of the config.
    store: the folder of runs, for MLflow. parent_run_id: of the study; None if not tracked.
    """

    name: str
    began: Callable[[str | None], None]
    data: TrainingData
    goes_on: Callable[[int, float], bool]
    params: Mapping[str, str | int | float | bool | None]
    store: Path
    parent_run_id: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What shows the run below that of the study."""
        return {} if self.parent_run_id is None else {"mlflow.parentRunId": self.parent_run_id}


def read_training_data(config: DataConfig) -> TrainingData:
    """Read what trainings need; raises DataError with every fault."""
    return TrainingData(load_dataset(config), fingerprint(config))


def make_run_folder(runs: Path, name: str) -> Path:
    """Make a folder named after the experiment and the time, and never one that is there.

    Raises OutputError when it cannot be made.
    """
    make_folder(runs)
    base = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, repeat = runs / base, 2
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            # Two trainings may begin within a second.
            folder, repeat = runs / f"{base}-{repeat}", repeat + 1
        except OSError as error:
            raise output_error(folder, error) from None
        else:
            return folder


def require_new_folder(folder: Path) -> None:
    """Make sure that a folder for a run does not exist or is empty; raises OutputError."""
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file. Name a new folder for this run.")
        if folder.exists() and not is_empty(folder):
            raise OutputError(f"{folder}: holds files already. Name a new folder for this run.")
    except OSError as error:
        raise output_error(folder, error) from None


def train(
    config: ExperimentConfig,
    folder: str | Path | None = None,
    progress_bar: bool = False,
    trial: Trial | None = None,
    run_id: str | None = None,
    runs: str | Path = _RUNS,
) -> TrainingResult:
    """Train the model of a resolved config and keep its best and last checkpoint.

    config: as `load_config` returns it. folder: where the run's files go, new or empty; by default
    NAME-DATE in the folder `runs`. Its parent holds the MLflow store by default.
    progress_bar: whether to draw on standard error how far an epoch has come. What is logged shows
    with `logging.basicConfig(level=logging.INFO)`.
    trial: where the training belongs to a study, which takes one process alone; its checkpoints
    are then not copied to MLflow.
    run_id: of a run in MLflow that has begun already, to record in instead of a new one.
    Of several processes the first one keeps and logs; under torchrun all return the same result.
    Raises DataError or ConfigError before anything is written, OutputError when the folder holds
    something already, when another process writes to it or when a file cannot be written,
    TrainingError when it cannot go on, and KeyboardInterrupt on Ctrl-C; the checkpoints of the
    epochs so far are kept.
    """
    processes = find_processes(config.training)
    with joined_by_torchrun(config, processes):
        if processes.is_first:
            place = None if folder is None else Path(folder)
            result = _lead(config, place, Path(runs), processes, progress_bar, trial, run_id)
        else:
            result = None
            with muted():
                # Heavy, as it imports Lightning.
                from mmts.training.fitting import follow

                follow(config, processes)
        return processes.tell(result)


def _lead(
    config: ExperimentConfig,
    folder: Path | None,
    runs: Path,
    processes: Processes,
    progress_bar: bool,
    trial: Trial | None,
    run_id: str | None,
) -> TrainingResult:
    """Train as the only process, or as the first of several."""
    began = time.monotonic()
    if folder is not None:
        require_new_folder(folder)
    data = read_training_data(config.data) if trial is None else trial.data
    if config.calibration is not None:
        require_enough_windows(data.dataset, config.model.head, config.calibration)
    config, model = start_model(config, data.dataset, data.linear_fits)
    for stream in model.schedule.idle_streams():
        logger.warning("stream %r has no path to the head: it is not used", stream)
    folder = make_run_folder(runs, config.name) if folder is None else folder
    with hold_folder(folder):
        # Again, as another process may have been quicker.
        require_new_folder(folder)
        write_whole(folder / "config.yaml", config.to_yaml())
        with Team(config, processes) as team:
            return _keep(config, folder, data, model, team, progress_bar, trial, began, run_id)


def _keep(
    config: ExperimentConfig,
    folder: Path,
    read: TrainingData,
    model: MultimodalForecaster,
    team: Team,
    progress_bar: bool,
    trial: Trial | None,
    began: float,
    run_id: str | None,
) -> TrainingResult:
    """Train a model, and keep and record what comes of it."""
    # Heavy, and not needed to find out that the data are wrong.
    from mmts.training.callbacks import BEST, HISTORY, AskedEachEpoch, CheckpointWriter, EpochLog
    from mmts.training.data_module import WindowDataModule
    from mmts.training.fitting import fit
    from mmts.training.module import count_parameters
    from mmts.training.progress import EpochProgress
    from mmts.training.stopping import StopOnSigterm

    processes, dataset, hashes = team.processes, read.dataset, read.hashes
    run = start_run(
        config.tracking,
        experiment=config.tracking.experiment or config.name,
        run_name=folder.name if trial is None else trial.name,
        folder=folder,
        store=folder.parent if trial is None else trial.store,
        description=describe_run(config, dataset),
        tags=config.tracking.tags if trial is None else {**config.tracking.tags, **trial.tags},
        run_id=run_id,
    )
    status: Status = "FAILED"
    on_interrupt = signal.getsignal(signal.SIGINT)
    stop = StopOnSigterm(processes)
    try:
        stop.listen()
        num_parameters = count_parameters(model)
        record_setup(run, config, dataset, hashes, folder, num_parameters)
        if trial is not None:
            trial.began(run.run_id)
            run.log_params(trial.params)

        def describe(epoch: int, loss: float) -> CheckpointInfo:
            return CheckpointInfo(
                config=config,
                data_schema=dataset.schema,
                scaling=dataset.scaling,
                split=dataset.split,
                fingerprint=hashes,
                versions=current_versions(),
                own_kinds=own_kinds(config.model),
                run_id=run.run_id,
                epoch=epoch,
                validation_loss=loss,
            )

        settings = config.training
        data = WindowDataModule(dataset, settings, config.seed, processes)
        writer = CheckpointWriter(folder, describe)
        log = EpochLog(
            folder / HISTORY, run, data.windows_per_epoch, settings.log_every_n_steps, writer
        )
        others: list[Any] = [EpochProgress(data.windows_per_epoch)] if progress_bar else []
        asked = None if trial is None else AskedEachEpoch(trial.goes_on)
        if asked is not None:
            others.append(asked)
        with SystemMetrics(run), team.together(if_it_hangs=lambda: run.finish("FAILED")):
            logger.info(
                "training %d weights on %d windows, validating on %d%s",
                num_parameters,
                len(data.train),
                len(data.validation),
                f", in {processes.count} processes" if processes.count > 1 else "",
            )
            num_epochs = fit(config, model, data, [writer, log, *others, stop])
        if config.calibration is not None:
            _calibrate(folder / BEST, dataset, config.calibration)
        for file in (BEST, HISTORY) if trial is None else (HISTORY,):
            run.log_file(folder / file)
        if asked is not None:
            run.set_tags({"trial": "pruned" if asked.has_ended else "complete"})
        outcome = TrainingOutcome(
            folder / BEST if trial is None else None,
            num_epochs,
            writer.best_epoch,
            writer.best_loss,
            seconds=time.monotonic() - began,
        )
        record_outcome(run, outcome)
        if trial is None:
            record_pictures(run, config, dataset, model, folder / HISTORY)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        # Lightning turns Ctrl-C into SystemExit, and leaves the process deaf to further ones.
        signal.signal(signal.SIGINT, on_interrupt)
        status = "KILLED"
        logger.info("stopped: %s keeps the checkpoints of the epochs so far", folder)
        raise KeyboardInterrupt from None
    except OutputError as error:
        record_error(run, error)
        logger.info("stopped: %s keeps what was written before", folder)
        raise
    except torch.OutOfMemoryError as error:
        fault = TrainingError(
            f"the device is out of memory ({str(error).partition('. ')[0]}). Lower "
            "training.batch_size, set training.precision: bf16-mixed, shorten context_length of "
            "the longest stream, or train on the CPU with training.accelerator: cpu."
        )
        record_error(run, fault)
        raise fault from None
    except Exception as error:  # Whatever it is: the run page says so, and it is raised again.
        record_error(run, error)
        raise
    finally:
        try:
            run.finish(status)
        finally:
            stop.release()
    return TrainingResult(
        checkpoint=folder / BEST,
        run_id=run.run_id,
        num_parameters=num_parameters,
        num_epochs=num_epochs,
        best_epoch=writer.best_epoch,
        best_loss=writer.best_loss,
        seconds=time.monotonic() - began,
    )


def _calibrate(checkpoint: Path, dataset: Dataset, config: CalibrationConfig) -> None:
    """Calibrate what a training has kept; where that cannot be done, keep it as it is."""
    try:
        calibrated, report = calibrate(Forecaster.from_checkpoint(checkpoint), dataset, config)
    except DataError as error:
        # What was trained is good without: it is no reason to call the training failed.
        logger.warning("%s is not calibrated: %s", checkpoint.name, error)
    else:
        save_checkpoint(checkpoint, calibrated.info, calibrated.model.state_dict())
        logger.info("%s: quantiles calibrated on the validation split", checkpoint.name)
        logger.info("%s", report.outlook)
