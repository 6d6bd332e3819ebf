"""The way of a training, as the first process goes it: all that is kept and recorded."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

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
from mmts.errors import DataError, MmtsError, OutputError
from mmts.files import make_folder, output_error, write_whole
from mmts.folder_lock import hold_folder, is_empty
from mmts.forecasting import Forecaster
from mmts.model import MultimodalForecaster
from mmts.run_folders.names import BEST, CONFIG, HISTORY
from mmts.tracking.run import TrackedRun, start_run
from mmts.tracking.system_metrics import SystemMetrics
from mmts.tracking.training_page import (
    TrainingOutcome,
    describe_run,
    record_outcome,
    record_pictures,
    record_setup,
)
from mmts.training.assignment import TrainingData, TrainingResult, Trial, read_training_data
from mmts.training.ending import run_ends, say_how_to_go_on
from mmts.training.linear_start import begin_model
from mmts.training.processes import Processes
from mmts.training.state import (
    KeptState,
    StateFile,
    TrainingState,
    has_unfinished_state,
    read_state,
)
from mmts.training.stopping import StopSignals
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
            work = _Work(
                config=config,
                folder=folder,
                read=data,
                model=model,
                trial=trial,
                progress_bar=progress_bar,
                began=began,
                file=file,
                kept=kept,
                signals=signals,
            )
            return _keep(work, team, run_id)


def _begin_model(
    config: ExperimentConfig, data: TrainingData, file: StateFile | None, kept: KeptState | None
) -> tuple[ExperimentConfig, MultimodalForecaster]:
    try:
        config, model = begin_model(config, data.dataset, kept, data.linear_fits)
    except KeyboardInterrupt:
        say_how_to_go_on(file)
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


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the first process trains, and where it keeps what comes of it.

    trial: where it belongs to a study. began: on the clock of `time.monotonic`. file: of the state;
    None where the training is not to go on later. kept: the state from which it goes on.
    """

    config: ExperimentConfig
    folder: Path
    read: TrainingData
    model: MultimodalForecaster
    trial: Trial | None
    progress_bar: bool
    began: float
    file: StateFile | None
    kept: KeptState | None
    signals: StopSignals

    def describe(self, run_id: str | None, epoch: int, loss: float) -> CheckpointInfo:
        """Describe the checkpoint of an epoch."""
        dataset = self.read.dataset
        return CheckpointInfo(
            config=self.config,
            data_schema=dataset.schema,
            scaling=dataset.scaling,
            split=dataset.split,
            fingerprint=self.read.hashes,
            versions=current_versions(),
            own_kinds=own_kinds(self.config.model),
            run_id=run_id,
            epoch=epoch,
            validation_loss=loss,
        )


def _keep(work: _Work, team: Team, run_id: str | None) -> TrainingResult:
    """Train a model, and keep and record what comes of it; run_id: of MLflow, to go on in."""
    # Heavy, and not needed to find out that the data are wrong.
    from mmts.training.module import count_parameters

    config, folder, dataset, trial = work.config, work.folder, work.read.dataset, work.trial
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
    num_parameters = count_parameters(work.model)
    with run_ends(run, folder, work.file, work.signals, team.processes.count > 1):
        if work.file is not None:
            work.file.know(num_parameters=num_parameters)
        record_setup(run, config, dataset, work.read.hashes, folder, num_parameters)
        if trial is not None:
            trial.began(run.run_id)
            run.log_params(trial.params)
        outcome = _train(work, team, run, num_parameters)
        if config.calibration is not None:
            _calibrate(folder / BEST, dataset, config.calibration)
        for name in (BEST, HISTORY) if trial is None else (HISTORY,):
            run.log_file(folder / name)
        outcome = replace(outcome, seconds=time.monotonic() - work.began)
        record_outcome(run, outcome)
        if trial is None:
            record_pictures(run, config, dataset, work.model, folder / HISTORY)
    seconds = time.monotonic() - work.began
    if work.file is not None:
        work.file.know(
            run_id=run.run_id, stage="finished", epoch=outcome.num_epochs, seconds=seconds
        )
        work.file.write()
    return TrainingResult(
        checkpoint=folder / BEST,
        run_id=run.run_id,
        num_parameters=num_parameters,
        num_epochs=outcome.num_epochs,
        best_epoch=outcome.best_epoch,
        best_loss=outcome.best_loss,
        seconds=seconds,
    )


def _train(work: _Work, team: Team, run: TrackedRun, num_parameters: int) -> TrainingOutcome:
    """Run the training loop, with all that looks on."""
    # Heavy, as they import Lightning.
    from mmts.training.callbacks import AskedEachEpoch, CheckpointWriter, EpochLog
    from mmts.training.data_module import WindowDataModule
    from mmts.training.fitting import fit
    from mmts.training.keeping import StateKeeper
    from mmts.training.listening import ListenAgain
    from mmts.training.progress import EpochProgress
    from mmts.training.watching import NumberWatch

    dataset, settings, signals = work.read.dataset, work.config.training, work.signals
    data = WindowDataModule(dataset, settings, work.config.seed, team.processes)
    writer = CheckpointWriter(work.folder, partial(work.describe, run.run_id))
    log = EpochLog(
        work.folder / HISTORY, run, data.windows_per_epoch, settings.log_every_n_steps, writer
    )
    bars = [EpochProgress(data.windows_per_epoch)] if work.progress_bar else []
    asked = [] if work.trial is None else [AskedEachEpoch(work.trial.goes_on)]
    keeper = StateKeeper(
        work.file, signals, log, run, work.began, settings.keep_state_every.total_seconds()
    )
    if work.kept is not None:
        writer.take_up()
        log.take_up(work.kept)
    with (
        SystemMetrics(run),
        team.together(if_it_hangs=lambda: run.finish("FAILED")),
        signals.wait(),
    ):
        count = team.processes.count
        logger.info(
            "training %d weights on %d windows, validating on %d%s",
            num_parameters,
            len(data.train),
            len(data.validation),
            f", in {count} processes" if count > 1 else "",
        )
        watch = NumberWatch(dataset, data)
        callbacks = [watch, writer, log, *bars, *asked, keeper, ListenAgain(signals)]
        num_epochs = fit(work.config, work.model, data, callbacks, work.kept)
    for one in asked:
        run.set_tags({"trial": "pruned" if one.has_ended else "complete"})
    return TrainingOutcome(
        work.folder / BEST if work.trial is None else None,
        num_epochs,
        writer.best_epoch,
        writer.best_loss,
        seconds=time.monotonic() - work.began,
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
