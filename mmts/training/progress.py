"""How far an epoch has come, in a terminal."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from mmts.training.module import ForecastingModule

_SECONDS_BETWEEN = 0.2


class _Rate(ProgressColumn):
    """Windows a second since the bar began, which may be within an epoch."""

    def render(self, task: Task) -> Text:
        return Text(f"{_read_here(task) / max(task.elapsed or 0.0, 1e-3):,.0f} windows/s")


class _TimeLeft(ProgressColumn):
    """Time left in this epoch, and at most in all of them, as training may stop early."""

    def render(self, task: Task) -> Text:
        if not _read_here(task) or not task.total or task.elapsed is None:
            return Text("")
        each = task.elapsed / _read_here(task)
        whole, left = each * task.total, each * (task.total - task.completed)
        # An earlier epoch tells what validating takes, too.
        more = task.fields["epochs_after"] * (task.fields["seconds_per_epoch"] or whole)
        in_all = f", at most {_say(left + more)} in all" if more else ""
        return Text(f"{_say(left)} left{in_all}")


def _read_here(task: Task) -> float:
    """Return how many windows were read since the bar began."""
    before: float = task.fields["read_before"]
    return max(0.0, task.completed - before)


class EpochProgress(pl.Callback):
    """Draws a bar with windows per second and the time left, and takes it away after each epoch.

    Drawn now and then, by the training itself: a thread that draws would take time from it.
    """

    def __init__(self, num_windows: int) -> None:
        """Draw on standard error; num_windows: of one epoch."""
        self.num_windows = num_windows
        self.drawn = 0.0
        self.began = 0.0
        self.first_epoch = 0
        self.batch_size = 0
        self.is_new = self.is_partial = False
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and ask to be told of each step."""
        assert isinstance(pl_module, ForecastingModule)
        self.began = time.monotonic()
        self.first_epoch = trainer.current_epoch
        self.batch_size = pl_module.config.batch_size
        if trainer.is_global_zero:
            pl_module.step_listener = self._move_on

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar."""
        if not trainer.is_global_zero:
            return
        assert trainer.max_epochs is not None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            _TimeLeft(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        done = trainer.current_epoch
        if self.is_partial:
            # Of an epoch within which a training went on nobody knows how long it takes.
            self.began, self.first_epoch, self.is_partial = time.monotonic(), done, False
        done_here = done - self.first_epoch
        seconds = (time.monotonic() - self.began) / done_here if done_here else None
        self.bar.add_task(
            f"epoch {done + 1}/{trainer.max_epochs}",
            total=self.num_windows,
            epochs_after=trainer.max_epochs - done - 1,
            seconds_per_epoch=seconds,
            read_before=0,
        )
        self.is_new = True
        self.bar.start()

    def _move_on(self, num_steps: int) -> None:
        now = time.monotonic()
        if self.bar is not None and self.is_new:
            # A training that goes on within an epoch has read a part of it before.
            self.is_new, self.is_partial = False, num_steps > 1
            self.bar.update(
                self.bar.task_ids[0], read_before=(num_steps - 1) * self.batch_size, refresh=False
            )
        if self.bar is not None and now - self.drawn >= _SECONDS_BETWEEN:
            self.drawn = now
            read = min(num_steps * self.batch_size, self.num_windows)
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


def _say(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
