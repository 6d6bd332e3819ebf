"""The way of a training, as the first process goes it: all that is kept and recorded."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from mmts.calibration.config import CalibrationConfig
from mmts.calibration.fitting import calibrate, require_enough_windows
from mmts.checkpoint import (
    CheckpointInfo,
    current_versions,
    own_kinds,
    save_checkpoint,
)
from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset
from mmts.errors import DataError, MmtsError, OutputError, TrainingError
from mmts.files import make_folder, output_error, write_whole
from mmts.folder_lock import hold_folder, is_empty
from mmts.forecasting import Forecaster
from mmts.model import MultimodalForecaster
from mmts.run_folders.names import BEST, CONFIG, HISTORY
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
from mmts.training.assignment import TrainingData, TrainingResult, Trial, read_training_data
from mmts.training.linear_start import begin_model
from mmts.training.processes import Processes
from mmts.training.state import (
    KeptState,
    StateFile,
    TrainingState,
    has_unfinished_state,
    read_state,
)
from mmts.training.stopping import Stopped, StopSignals
from mmts.training.team import Team

logger = logging.getLogger(__name__)


def lead(
    config: ExperimentConfig,
    folder: Path | None,
    runs: Path,
    kept: KeptState | None,
    processes: Processes,
    signals: StopSignals,
    progress_bar: bool,
    trial: Trial | None,
    run_id: str | None,
) -> TrainingResult:
    """Train as the only process, or as the first of several."""
    began = time.monotonic() - (0.0 if kept is None else kept.state.seconds)
    if kept is None and folder is not None:
        require_new_folder(folder)
    data = read_training_data(config.data) if trial is None else trial.data
    if config.calibration is not None:
        require_enough_windows(data.dataset, config.model.head, config.calibration)
    if kept is not None:
        kept.require_data(data.hashes)
    folder = make_run_folder(runs, config.name) if folder is None else folder
    with hold_folder(folder):
        if kept is None:
            # Again, as another process may have been quicker.
            require_new_folder(folder)
        elif read_state(folder).state != kept.state:
            raise OutputError(f"{folder}: another process has gone on with it. Run this again.")
        file = None
        if trial is None:
            file = _begin_state(folder, config, data.hashes, kept, processes.count, run_id)
        config, model = _begin_model(config, data, file, kept)
        if kept is None or not (folder / CONFIG).exists():
            # Written once, as it also tells when the run began.
            write_whole(folder / CONFIG, config.to_yaml())
        if file is not None:
            file.know(config=config.to_json())
        signals.check()
        with Team(config, processes, None if kept is None else folder) as team:
            return _keep(
                config, folder, data, model, team, progress_bar, trial, began, run_id, file, kept,
                signals,
            )  # fmt: skip


def _begin_model(
    config: ExperimentConfig, data: TrainingData, file: StateFile | None, kept: KeptState | None
) -> tuple[ExperimentConfig, MultimodalForecaster]:
    try:
        config, model = begin_model(config, data.dataset, kept, data.linear_fits)
    except KeyboardInterrupt:
        _say_how_to_go_on(file)
        raise
    except MmtsError:
        if kept is None and file is not None:
            # Nothing is begun that cannot be trained.
            file.path.unlink()
        raise
    for stream in model.schedule.idle_streams():
        logger.warning("stream %r has no path to the head: it is not used", stream)
    return config, model


def _begin_state(
    folder: Path,
    config: ExperimentConfig,
    hashes: dict[str, str],
    kept: KeptState | None,
    num_processes: int,
    run_id: str | None,
) -> StateFile:
    """Write down that a training has begun, or take up what was written."""
    if kept is not None:
        versions = current_versions()
        if versions != kept.state.versions:
            logger.warning(
                "%s was trained with other versions (%s): it goes on, and may come to slightly "
                "other numbers",
                folder,
                ", ".join(f"{name} {found}" for name, found in kept.state.versions.items()),
            )
        before = kept.state.num_processes
        if kept.state.stage == "trains" and before not in (None, num_processes):
            logger.warning(
                "%s was trained in %d process%s so far, and goes on in %d: dropout draws otherwise "
                "from here",
                folder, before, "" if before == 1 else "es", num_processes,
            )  # fmt: skip
        file = StateFile(folder, kept.state)
        file.know(num_processes=num_processes)
        return file
    settings = config.to_json()
    state = TrainingState(
        given=settings,
        config=settings,
        fingerprint=hashes,
        versions=current_versions(),
        num_processes=num_processes,
        run_id=run_id,
    )
    file = StateFile(folder, state)
    file.write()
    return file


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
        is_new = not folder.exists() or is_empty(folder)
    except OSError as error:
        raise output_error(folder, error) from None
    if not is_new and has_unfinished_state(folder):
        raise OutputError(
            f"{folder}: holds a training that is not finished. `mmts train --resume {folder}` goes "
            "on with it; name a new folder for another run."
        )
    if not is_new:
        raise OutputError(f"{folder}: holds files already. Name a new folder for this run.")


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
    file: StateFile | None,
    kept: KeptState | None,
    signals: StopSignals,
) -> TrainingResult:
    """Train a model, and keep and record what comes of it."""
    # Heavy, and not needed to find out that the data are wrong.
    from mmts.training.callbacks import AskedEachEpoch, CheckpointWriter, EpochLog
    from mmts.training.data_module import WindowDataModule
    from mmts.training.fitting import fit
    from mmts.training.keeping import StateKeeper
    from mmts.training.listening import ListenAgain
    from mmts.training.module import count_parameters
    from mmts.training.progress import EpochProgress
    from mmts.training.watching import NumberWatch

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
    try:
        num_parameters = count_parameters(model)
        if file is not None:
            file.know(num_parameters=num_parameters)
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
        keeper = StateKeeper(
            file, signals, log, run, began, settings.keep_state_every.total_seconds()
        )
        if kept is not None:
            writer.take_up()
            log.take_up(kept)
        with (
            SystemMetrics(run),
            team.together(if_it_hangs=lambda: run.finish("FAILED")),
            signals.wait(),
        ):
            logger.info(
                "training %d weights on %d windows, validating on %d%s",
                num_parameters,
                len(data.train),
                len(data.validation),
                f", in {processes.count} processes" if processes.count > 1 else "",
            )
            watch = NumberWatch(dataset, data)
            callbacks = [watch, writer, log, *others, keeper, ListenAgain(signals)]
            num_epochs = fit(config, model, data, callbacks, kept)
        if config.calibration is not None:
            _calibrate(folder / BEST, dataset, config.calibration)
        for name in (BEST, HISTORY) if trial is None else (HISTORY,):
            run.log_file(folder / name)
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
        signals.check()
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt, SystemExit):
        # Lightning turns Ctrl-C into SystemExit, and leaves the process deaf to further ones.
        signals.listen()
        status = "KILLED"
        _say_how_to_go_on(file)
        raise signals.interrupt() from None
    except OutputError as error:
        record_error(run, error)
        logger.info("stopped: %s keeps what was written before", folder)
        raise
    except torch.OutOfMemoryError as error:
        fault = TrainingError(
            f"the device is out of memory ({str(error).partition('. ')[0]}). Lower "
            "training.batch_size, set training.precision: bf16-mixed or training.cuda_graph: "
            "false, shorten context_length of the longest stream, or train on the CPU with "
            "training.accelerator: cpu."
        )
        record_error(run, fault)
        raise fault from None
    except Exception as error:  # Whatever it is: the run page says so, and it is raised again.
        if signals.noted is not None and processes.count > 1:
            # The signal has ended the others, and this process was waiting for one of them.
            status = "KILLED"
            _say_how_to_go_on(file)
            raise signals.interrupt() from None
        record_error(run, error)
        raise
    finally:
        run.finish(status)
    seconds = time.monotonic() - began
    if file is not None:
        file.know(run_id=run.run_id, stage="finished", epoch=num_epochs, seconds=seconds)
        file.write()
    return TrainingResult(
        checkpoint=folder / BEST,
        run_id=run.run_id,
        num_parameters=num_parameters,
        num_epochs=num_epochs,
        best_epoch=writer.best_epoch,
        best_loss=writer.best_loss,
        seconds=seconds,
    )


def _say_how_to_go_on(file: StateFile | None) -> None:
    if file is None:
        # A trial, or a refit of a backtest: whoever asked for it tells how it goes on.
        logger.info("stopped")
    else:
        logger.info("stopped: `mmts train --resume %s` goes on from here", file.path.parent)


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
