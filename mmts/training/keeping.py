"""Writing down, while a training goes on, how far it is."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from mmts.tracking.run import TrackedRun
from mmts.training.callbacks import EpochLog
from mmts.training.module import ForecastingModule
from mmts.training.state import Stage, StateFile
from mmts.training.stopping import Stopped, StopSignals

_LONGEST_PART = 0.02
"""Of the time, that writing the state may take: short epochs do not all end with it."""


class StateKeeper(pl.Callback):
    """Keeps the state of a training between its epochs, now and then within them, and at a stop.

    It comes after the callbacks whose work the state counts as done. file: None where a training
    is not to go on later; it then stops without.
    """

    def __init__(
        self,
        file: StateFile | None,
        signals: StopSignals,
        epoch_log: EpochLog,
        run: TrackedRun,
        began: float,
        seconds_between: float,
    ) -> None:
        """Take what tells the time, the run and whether to stop.

        began: on the clock of `time.monotonic`. seconds_between: two states within an epoch.
        """
        self.file = file
        self.signals = signals
        self.epoch_log = epoch_log
        self.run = run
        self.began = began
        self.seconds_between = seconds_between
        self.written = time.monotonic()
        self.seconds_to_write = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let a stop not wait for the end of a round, where no other process waits for that."""
        assert isinstance(pl_module, ForecastingModule)
        if pl_module.processes.count == 1:
            pl_module.round_ends = lambda: self.signals.noted is not None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what the epochs before have come to, early stopping included."""
        assert isinstance(pl_module, ForecastingModule)
        if pl_module.kept is None and self._is_due(after=0.0):
            self._keep(trainer, pl_module, "trains", num_steps=0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Stop where it was asked for, or keep the state of a long epoch."""
        assert isinstance(pl_module, ForecastingModule)
        stops = self.signals.noted is not None
        if stops or self._is_due(self.seconds_between):
            self._keep(trainer, pl_module, "trains", pl_module.epoch_steps)
        if stops:
            raise Stopped

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Stop where it was asked for: the steps of the epoch are kept, to be validated anew."""
        assert isinstance(pl_module, ForecastingModule)
        if self.signals.noted is None:
            return
        if not trainer.sanity_checking:
            # The weights go back to where they are trained.
            pl_module.on_validation_end()
            self._keep(trainer, pl_module, "trains", pl_module.epoch_steps)
        raise Stopped

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep that no epoch follows."""
        assert isinstance(pl_module, ForecastingModule)
        self._keep(trainer, pl_module, "trained", num_steps=0)

    def _is_due(self, after: float) -> bool:
        """Tell whether so many seconds have gone by, and enough for what it takes to write."""
        gone_by = time.monotonic() - self.written
        return gone_by >= max(after, self.seconds_to_write / _LONGEST_PART)

    def _keep(
        self, trainer: pl.Trainer, module: ForecastingModule, stage: Stage, num_steps: int
    ) -> None:
        """Write the state; num_steps: taken of the epoch that goes on."""
        # Where a loss was no number, what was kept before meets it again, at the step it came from.
        if self.file is None or int(module.failed_step) >= 0:
            return
        stopping = trainer.early_stopping_callback
        assert isinstance(stopping, pl.callbacks.EarlyStopping)
        now = time.monotonic()
        self.file.know(
            run_id=self.run.run_id,
            stage=stage,
            epoch=trainer.current_epoch,
            epoch_steps=num_steps,
            num_steps=module.num_steps,
            wait_count=stopping.wait_count,
            stopped_epoch=stopping.stopped_epoch,
            seconds=now - self.began,
            epoch_seconds=self.epoch_log.seconds if num_steps else 0.0,
            waited_seconds=module.waiting.seconds if num_steps else 0.0,
        )
        self.file.write(module.tensors() | {"best_score": stopping.best_score})
        self.written = time.monotonic()
        self.seconds_to_write = self.written - now
