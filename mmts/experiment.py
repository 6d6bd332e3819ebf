"""One experiment from config to checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

from mmts.checkpoint import (
    read_info,
)
from mmts.config import ExperimentConfig
from mmts.config_yaml import read_yaml
from mmts.errors import RunError
from mmts.run_folders.names import BEST, CONFIG
from mmts.training.assignment import TrainingResult, Trial
from mmts.training.joining import joined_by_torchrun
from mmts.training.leading import lead
from mmts.training.processes import find_processes, muted
from mmts.training.state import (
    KeptState,
    read_state,
)
from mmts.training.stopping import StopSignals

_RUNS = "runs"

logger = logging.getLogger(__name__)


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
    TrainingError when it cannot go on, and KeyboardInterrupt on Ctrl-C or SIGTERM, after which
    `resume` goes on, as it does after a kill.
    """
    place = None if folder is None else Path(folder)
    return _train(config, place, Path(runs), None, progress_bar, trial, run_id)


def resume(
    folder: str | Path, config: ExperimentConfig | None = None, progress_bar: bool = False
) -> TrainingResult:
    """Go on with a training that was stopped or killed, as if nothing had happened.

    What comes of it is the same to the bit, on a CPU, as of a training that was never stopped. One
    that is finished is left as it is. folder: of the run. config: where given, it has to be the one
    that the training was begun with. Raises RunError where there is nothing to go on with, or
    where config or data are others, and otherwise what `train` raises.
    """
    folder = Path(folder)
    kept = read_state(folder)
    if config is not None:
        kept.require_experiment(config.to_json(), "the config", given=True)
    state = kept.state
    if state.stage == "finished":
        logger.info("%s: finished already, after %d epochs", folder, state.epoch)
        best = read_info(folder / BEST)
        return TrainingResult(
            checkpoint=folder / BEST,
            run_id=state.run_id,
            num_parameters=state.num_parameters,
            num_epochs=state.epoch,
            best_epoch=best.epoch,
            best_loss=best.validation_loss,
            seconds=state.seconds,
        )
    if kept.has_model or (folder / CONFIG).exists():
        kept.require_untouched(read_yaml(folder / CONFIG), CONFIG)
    begun = kept.experiment()
    had_best = state.epoch > 0 or (kept.has_model and begun.model.linear is not None)
    if had_best and not (folder / BEST).exists():
        raise RunError(f"{folder}: its {BEST} is gone. Put it back, or train in a new folder.")
    return _train(begun, folder, folder.parent, kept, progress_bar, None, state.run_id)


def _train(
    config: ExperimentConfig,
    folder: Path | None,
    runs: Path,
    kept: KeptState | None,
    progress_bar: bool,
    trial: Trial | None,
    run_id: str | None,
) -> TrainingResult:
    """Train as whichever process this is; kept: where an earlier training was."""
    processes = find_processes(config.training)
    with joined_by_torchrun(config, processes):
        if processes.is_first:
            with StopSignals(processes) as signals:
                result = lead(
                    config, folder, runs, kept, processes, signals, progress_bar, trial, run_id
                )
        else:
            result = None
            with muted():
                # Heavy, as it imports Lightning.
                from mmts.training.fitting import follow

                follow(config, processes, kept)
        return processes.tell(result)
