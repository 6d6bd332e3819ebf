"""How far an epoch has come, in a terminal."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmts.training.module import ForecastingModule

_SECONDS_BETWEEN = 0.2


class _Rate(ProgressColumn):
    """Windows a second since the epoch began."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / max(task.elapsed or 0.0, 1e-3):,.0f} windows/s")


class EpochProgress(pl.Callback):
    """Draws a bar with windows per second and the time left, and takes it away after each epoch.

    Drawn now and then, by the training itself: a thread that draws would take time from it.
    """

    def __init__(self, num_windows: int) -> None:
        """Draw on standard error; num_windows: of one epoch."""
        self.num_windows = num_windows
        self.drawn = 0.0
        self.bar: Progress | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar."""
        if not trainer.is_global_zero:
            return
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.add_task(name, total=self.num_windows)
        self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Move on."""
        assert isinstance(pl_module, ForecastingModule)
        now = time.monotonic()
        if self.bar is not None and now - self.drawn >= _SECONDS_BETWEEN:
            self.drawn = now
            read = min(pl_module.epoch_steps * pl_module.config.batch_size, self.num_windows)
            self.bar.update(self.bar.task_ids[0], completed=read, refresh=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away: what follows are lines."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
