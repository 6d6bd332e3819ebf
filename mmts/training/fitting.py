"""The training loop as each process runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy

from mmts.checkpoint import own_kinds
from mmts.config import ExperimentConfig
from mmts.data.dataset import load_dataset
from mmts.model import MultimodalForecaster
from mmts.training.data_module import WindowDataModule
from mmts.training.linear_start import begin_model
from mmts.training.listening import ListenAgain
from mmts.training.module import ForecastingModule
from mmts.training.processes import Processes, choose_accelerator
from mmts.training.quiet import quiet_lightning
from mmts.training.state import KeptState
from mmts.training.stopping import StopSignals


def fit(
    config: ExperimentConfig,
    model: MultimodalForecaster,
    data: WindowDataModule,
    callbacks: Sequence[pl.Callback] = (),
    kept: KeptState | None = None,
) -> int:
    """Train a model in place, with what the callbacks keep of it; returns the number of epochs.

    kept: where an earlier training was, whose weights the model has already.
    """
    settings, processes = config.training, data.processes
    if kept is not None and kept.state.stage == "trained":
        return kept.state.epoch
    module = ForecastingModule(
        model, settings, config.seed, data.num_steps, processes, may_record(config, processes)
    )
    stopping = pl.callbacks.EarlyStopping(
        "val/loss",
        patience=settings.patience,
        # So that what else looks at the end of an epoch knows whether it was the last one.
        check_on_train_epoch_end=False,
    )
    goes_on = kept is not None and kept.has_model
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=settings.max_epochs,
            accelerator=choose_accelerator(settings, processes),
            precision=settings.precision,
            # Asked anew each epoch, so that the order is a function of seed and epoch.
            reload_dataloaders_every_n_epochs=1,
            callbacks=[*callbacks, stopping],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
            # Under SLURM Lightning would load, unasked and as a pickle, what lies there.
            default_root_dir=os.devnull,
            # Else it asks SLURM, MPI and others which process this is, and answers their signals.
            plugins=[_Joined(processes)],
            # What training starts from is a forecast of its own where there is a linear path.
            num_sanity_val_steps=-1 if model.linear is not None and not goes_on else 0,
            **_arrange(processes, may_skip_weights=bool(own_kinds(config.model))),
        )
        if kept is not None and goes_on:
            module.take_up(kept)
            _take_up(trainer, stopping, data, kept)
        trainer.fit(module, data)
    return trainer.current_epoch


def may_record(config: ExperimentConfig, processes: Processes) -> bool:
    """Tell whether steps are recorded and played back, if they are taken on a GPU."""
    asked = config.training.cuda_graph
    if asked is None:
        # What a kind of somebody else's does may differ from step to step.
        return processes.count == 1 and not own_kinds(config.model)
    return asked


def _take_up(
    trainer: pl.Trainer,
    stopping: pl.callbacks.EarlyStopping,
    data: WindowDataModule,
    kept: KeptState,
) -> None:
    """Let the loop begin where an earlier one was."""
    state = kept.state
    # What `trainer.current_epoch` reads; Lightning types it as what it is built on.
    trainer.fit_loop.epoch_progress.current.processed = state.epoch  # type: ignore[attr-defined]
    data.begins_at = (state.epoch, state.epoch_steps)
    stopping.wait_count = state.wait_count
    stopping.stopped_epoch = state.stopped_epoch
    stopping.best_score = kept.tensors["best_score"]


def follow(
    config: ExperimentConfig,
    processes: Processes,
    kept: KeptState | None,
    join: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Train as a process that is not the first, which built the same: nothing is kept of it.

    kept: where an earlier training was. join: called when all is ready; holds the processes
    together until the end.
    """
    dataset = load_dataset(config.data)
    config, model = begin_model(config, dataset, kept)
    data = WindowDataModule(dataset, config.training, config.seed, processes)
    with join(), StopSignals(processes) as signals:
        try:
            fit(config, model, data, [ListenAgain(signals)], kept)
        except Exception:  # Whatever it is: once all are told to stop, the first one's end is why.
            signals.check()
            raise


class _Joined(ClusterEnvironment):
    """Tells Lightning which process this is; where there are several, they were joined before."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise AssertionError("the processes were joined before")

    @property
    def main_port(self) -> int:
        raise AssertionError("the processes were joined before")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.processes.count

    def set_world_size(self, size: int) -> None:
        assert size == self.processes.count

    def global_rank(self) -> int:
        return self.processes.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.processes.rank

    def local_rank(self) -> int:
        return self.processes.local_rank

    def node_rank(self) -> int:
        return self.processes.rank // self.processes.local_count


def _arrange(processes: Processes, may_skip_weights: bool) -> dict[str, Any]:
    if processes.count == 1:
        return {"devices": 1}
    strategy = DDPStrategy(
        # What is built in uses every weight in every step; to look for others takes time.
        find_unused_parameters=may_skip_weights,
        # Else those of the first process replace the sums that each process adds up by itself.
        broadcast_buffers=False,
    )
    return {
        "strategy": strategy,
        "devices": processes.local_count,
        "num_nodes": processes.count // processes.local_count,
    }
