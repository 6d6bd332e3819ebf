"""A study from its config to its best config."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mmts.checkpoint import build_model
from mmts.errors import ConfigError
from mmts.interrupts import SignalWatch
from mmts.tracking.run import Status, TrackedRun, start_run
from mmts.training.assignment import TrainingData, read_training_data
from mmts.training.processes import find_processes
from mmts.tuning.config import label
from mmts.tuning.folder import StudyFolder
from mmts.tuning.results import keep_results
from mmts.tuning.space import SearchedConfig
from mmts.tuning.study import Study, TrialRecord, best_of, storage_errors
from mmts.tuning.workers import Work, train_trials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyResult:
    """What a study has found so far.

    records: of all trials but those that were interrupted. interrupt: what ended it before it was
    done, Ctrl-C or SIGTERM; None where nothing did.
    """

    folder: StudyFolder
    records: list[TrialRecord]
    num_missing: int
    interrupt: KeyboardInterrupt | None

    @property
    def best(self) -> TrialRecord | None:
        """The best trial; None where none was trained to its end."""
        return best_of(self.records)

    @property
    def first_failure(self) -> str | None:
        """Why the first trial failed, where all have."""
        if not self.records or any(record.outcome != "failed" for record in self.records):
            return None
        return self.records[0].reason


def tune(searched: SearchedConfig, folder: Path) -> StudyResult:
    """Train the trials that a study lacks, and keep the best of all.

    folder: of the study, new or one to go on with; its parent holds the MLflow store by default.
    Of each trial the best validation loss counts; nothing of the test split is looked at.
    Ctrl-C and SIGTERM end the training of trials, and come back as the result's `interrupt`, which
    whoever calls this may raise.
    Raises DataError, ConfigError or OutputError before anything is trained.
    """
    config, tuning = searched.config, searched.tuning
    if find_processes(config.training).count > 1:
        raise ConfigError(
            "training.devices: a study trains each trial in one process. Take 1; "
            "tuning.workers trains several trials at the same time."
        )
    data = read_training_data(config.data)
    build_model(config, data.dataset.schema, data.dataset.scaling)
    place = StudyFolder(folder)
    with (
        SignalWatch() as watch,
        place.opened(config, data.hashes),
        storage_errors(place.database),
        closing(Study(place.database, tuning)) as study,
    ):
        for interrupted in study.repeat_interrupted():
            _clear_away(searched, place, interrupted)
        keep_results(searched, place, study.records())
        num_missing = max(0, tuning.num_trials - len(_ended(study)))
        interrupt = (
            _train_missing(searched, place, study, data, num_missing, watch)
            if num_missing
            else None
        )
        records = _ended(study)
    num_missing = max(0, tuning.num_trials - len(records))
    return StudyResult(place, records, num_missing, interrupt)


def _train_missing(
    searched: SearchedConfig,
    folder: StudyFolder,
    study: Study,
    data: TrainingData,
    num_missing: int,
    watch: SignalWatch,
) -> KeyboardInterrupt | None:
    """Train so many trials, and keep what comes of them; returns what ended it before."""
    tuning = searched.tuning
    timeout = None if tuning.timeout is None else tuning.timeout.total_seconds()
    run = _start_run(searched, folder, study)
    work = Work(
        searched=searched,
        folder=folder,
        num_trials=num_missing,
        until=None if timeout is None else time.monotonic() + timeout,
        runs=folder.path.parent,
        parent_run_id=run.run_id,
    )
    status: Status = "FAILED"
    interrupt: KeyboardInterrupt | None = None
    try:
        train_trials(
            work,
            tuning.workers,
            data,
            lambda number: _report(searched, folder, study, number),
            watch,
        )
        status = "FINISHED"
    except KeyboardInterrupt as stop:
        status, interrupt = "KILLED", stop
    finally:
        try:
            keep_results(searched, folder, study.records())
            _log_results(run, folder, _ended(study))
        finally:
            run.finish(status)
    return interrupt


def _ended(study: Study) -> list[TrialRecord]:
    return [record for record in study.records() if record.outcome != "interrupted"]


def _clear_away(searched: SearchedConfig, folder: StudyFolder, interrupted: TrialRecord) -> None:
    """Remove what a trial that was interrupted has left, and close its run in MLflow."""
    logger.info("trial %d was interrupted, and is repeated", interrupted.number)
    place = folder.trial(interrupted.number)
    if interrupted.run_id is not None:
        # Where it was killed it could not do so itself.
        name = folder.trial_name(interrupted.number)
        run = _open_run(searched, folder, place, name, interrupted.run_id)
        run.finish("KILLED")
    shutil.rmtree(place, ignore_errors=True)


def _report(searched: SearchedConfig, folder: StudyFolder, study: Study, number: int) -> None:
    """Say how a trial ended, and keep what it is worth."""
    records = study.records()
    keep_results(searched, folder, records)
    record = next(record for record in records if record.number == number)
    if record.outcome == "failed":
        logger.warning("trial %d failed: %s", number, record.reason)
    elif record.outcome == "pruned":
        logger.info("trial %d: pruned after epoch %d", number, record.num_epochs)
    else:
        logger.info(
            "trial %d: validation loss %.4f after epoch %d of %d%s",
            number,
            record.loss,
            record.best_epoch,
            record.num_epochs,
            ", best so far" if best_of(records) == record else "",
        )


def _open_run(
    searched: SearchedConfig,
    folder: StudyFolder,
    place: Path,
    name: str,
    run_id: str | None,
    description: str | None = None,
) -> TrackedRun:
    config = searched.config
    return start_run(
        config.tracking,
        experiment=config.tracking.experiment or config.name,
        run_name=name,
        folder=place,
        store=folder.path.parent,
        description=description,
        tags=config.tracking.tags,
        run_id=run_id,
    )


def _start_run(searched: SearchedConfig, folder: StudyFolder, study: Study) -> TrackedRun:
    """Begin the run that those of the trials are shown below, or go on with it."""
    config, tuning = searched.config, searched.tuning
    about = f"A study of {', '.join(tuning.search)}, chosen on the validation split."
    run = _open_run(searched, folder, folder.path, folder.path.name, study.run_id, about)
    if run.run_id is not None and run.run_id != study.run_id:
        study.keep_run_id(run.run_id)
    run.log_params(
        {
            "seed": config.seed,
            **{
                f"tuning.{name}": getattr(tuning, name)
                for name in ("seed", "pruner", "startup_trials", "warmup_epochs")
            },
            **{
                f"search.{key}": label(space)
                for key, space in tuning.model_dump(mode="json")["search"].items()
            },
        }
    )
    return run


def _log_results(run: TrackedRun, folder: StudyFolder, records: list[TrialRecord]) -> None:
    """Record the losses by the number of the trial, and the files."""
    for place, record in enumerate(records):
        best = best_of(records[: place + 1])
        if record.outcome == "complete" and record.loss is not None and best is not None:
            assert best.loss is not None
            losses = {"tuning/loss": record.loss, "tuning/best_loss": best.loss}
            run.log_metrics(losses, step=record.number)
    for file in (folder.description, folder.table, folder.best_config):
        if file.exists():
            run.log_file(file)
