"""What happens at the end of each epoch: checkpoints, a local history, tracking."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from mmts.checkpoint import CheckpointInfo, read_info, save_checkpoint
from mmts.data.times import say_span
from mmts.files import write_whole
from mmts.linear.share import Shares
from mmts.run_folders.history import keep_epochs
from mmts.run_folders.names import BEST, LAST
from mmts.tracking.run import TrackedRun
from mmts.training.module import ForecastingModule
from mmts.training.state import KeptState

logger = logging.getLogger(__name__)


class CheckpointWriter(pl.Callback):
    """Writes `last.mmts` after every epoch and `best.mmts` whenever validation is better.

    What training starts from counts as epoch 0, where it was validated.
    """

    def __init__(self, folder: Path, describe: Callable[[int, float], CheckpointInfo]) -> None:
        """Write into a folder.

        describe: makes the description of a checkpoint from its epoch and validation loss.
        """
        self.folder = folder
        self.describe = describe
        self.best_loss = math.inf
        self.best_epoch = 0

    def take_up(self) -> None:
        """Go on with what was kept before.

        That may be of a later epoch than the one from which the training goes on, which then comes
        to the same again.
        """
        path = self.folder / BEST
        if path.exists():
            info = read_info(path)
            self.best_loss, self.best_epoch = info.validation_loss, info.epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the files."""
        assert isinstance(pl_module, ForecastingModule)
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        loss = pl_module.validation_loss
        info = self.describe(epoch, loss)
        weights = pl_module.model.state_dict()
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            save_checkpoint(self.folder / BEST, info, weights)
        save_checkpoint(self.folder / LAST, info, weights)


class EpochLog(pl.Callback):
    """Keeps the losses in a local file, sends them to the tracked run, and logs a line."""

    def __init__(
        self,
        path: Path,
        run: TrackedRun,
        num_windows: int,
        log_every_n_steps: int,
        writer: CheckpointWriter,
    ) -> None:
        """Append to a file of JSON lines; num_windows: windows of one epoch."""
        self.path = path
        self.run = run
        self.num_windows = num_windows
        self.log_every_n_steps = log_every_n_steps
        self.writer = writer
        self.began = self.seconds = 0.0
        self.first_began: float | None = None
        self.seconds_before = self.epoch_seconds_before = 0.0

    def take_up(self, kept: KeptState) -> None:
        """Go on where a training was: what was written of later epochs is written anew."""
        state = kept.state
        self.seconds_before, self.epoch_seconds_before = state.seconds, state.epoch_seconds
        keep_epochs(self.path, state.epoch if kept.has_model else -1)

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what training starts from."""
        assert isinstance(pl_module, ForecastingModule)
        loss = pl_module.validation_loss
        self._write({"epoch": 0, "val/loss": loss})
        self.run.log_metrics({"val/loss": loss}, step=0)
        logger.info("start: validation %.4f, the linear path alone", loss)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, or let it go on."""
        now = time.monotonic()
        self.began, self.epoch_seconds_before = now - self.epoch_seconds_before, 0.0
        if self.first_began is None:
            self.first_began = now - self.seconds_before

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Send the loss of a step now and then: reading it waits for the device."""
        assert isinstance(pl_module, ForecastingModule)
        losses = pl_module.round_losses
        first = pl_module.num_steps - len(losses) + 1
        for place in range(len(losses)):
            if (first + place) % self.log_every_n_steps == 0:
                metrics = {
                    "train/loss_step": float(losses[place]),
                    "train/gradient_norm": float(pl_module.round_norms[place]),
                }
                self.run.log_metrics(metrics, step=first + place)
        # Here, as the validation comes before the end of the epoch.
        self.seconds = time.monotonic() - self.began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch down."""
        assert isinstance(pl_module, ForecastingModule)
        epoch = trainer.current_epoch + 1
        metrics = {
            "train/loss": pl_module.mean_train_loss(),
            "val/loss": pl_module.validation_loss,
            "train/learning_rate": pl_module.learning_rate,
            "train/windows_per_second": self.num_windows / self.seconds,
            "train/wait_share": pl_module.waiting.seconds / self.seconds,
        }
        if pl_module.model.linear is not None:
            metrics["val/network_share"] = pl_module.chosen_shares.middle
            if pl_module.model.network_share.has_spread:
                metrics["val/spread_share"] = pl_module.chosen_shares.spread
        self._write({"epoch": epoch, **metrics})
        self.run.log_metrics(metrics, step=epoch)
        logger.info(
            "epoch %d/%s: train %.4f, validation %.4f%s%s (%.0f windows/s%s)",
            epoch,
            trainer.max_epochs,
            metrics["train/loss"],
            metrics["val/loss"],
            _say_shares(pl_module.chosen_shares),
            ", best so far" if self.writer.best_epoch == epoch else "",
            metrics["train/windows_per_second"],
            self._say_time_left(epoch, trainer.max_epochs),
        )

    def _say_time_left(self, epoch: int, max_epochs: int | None) -> str:
        if max_epochs is None or epoch >= max_epochs or self.first_began is None:
            return ""
        seconds = (time.monotonic() - self.first_began) / epoch * (max_epochs - epoch)
        # At most, as training stops early where validation gets no better.
        return f", at most {say_span(max(1, round(seconds)) * 1_000_000)} left"

    def _write(self, line: dict[str, float]) -> None:
        # All of it, and not one line more: on a full disk half of that would stay.
        before = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        write_whole(self.path, f"{before}{json.dumps(line)}\n")


class AskedEachEpoch(pl.Callback):
    """Ends the training, in good order, where it is not to go on.

    has_ended: whether it was ended so.
    """

    def __init__(self, goes_on: Callable[[int, float, bool], bool]) -> None:
        """Take the question; goes_on: as in `Trial`."""
        self.goes_on = goes_on
        self.has_ended = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask, when the epoch is written down."""
        assert isinstance(pl_module, ForecastingModule)
        epoch = trainer.current_epoch + 1
        # Early stopping looks at the validation, which comes before this.
        is_last = trainer.should_stop or epoch == trainer.max_epochs
        if not self.goes_on(epoch, pl_module.validation_loss, is_last):
            self.has_ended = trainer.should_stop = True


def _say_shares(shares: Shares) -> str:
    if shares == Shares():
        return ""
    if shares.middle == shares.spread:
        return f" with {shares.middle:.0%} of the network"
    return (
        f" with {shares.middle:.0%} of the network's median and {shares.spread:.0%} of its spread"
    )
