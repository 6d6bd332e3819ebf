"""The windows of an experiment as Lightning takes them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from mmts.data.dataset import Dataset
from mmts.data.gathering import WindowGatherer
from mmts.training.config import TrainingConfig
from mmts.training.loader import OrderedBatches, Rounds, ShuffledBatches, count_batches
from mmts.training.processes import ALONE, Processes


class WindowDataModule(pl.LightningDataModule):
    """Moves the streams to the device once and gathers every batch there."""

    def __init__(
        self, dataset: Dataset, config: TrainingConfig, seed: int, processes: Processes = ALONE
    ) -> None:
        """Keep the windows of the validation split, and of the train split all that are read."""
        super().__init__()
        self.config = config
        self.seed = seed
        self.processes = processes
        self.begins_at = (0, 0)
        """The epoch to begin with, and how many of its batches were read before."""
        self.train = dataset.windows("train").latest(config.recent)
        self.validation = dataset.windows("validation")

    def _on_device(self, windows: WindowGatherer) -> WindowGatherer:
        assert self.trainer is not None
        return windows.to(self.trainer.strategy.root_device)

    def setup(self, stage: str) -> None:
        """Move everything to the device of the training."""
        self.train = self._on_device(self.train)
        self.validation = self._on_device(self.validation)

    @property
    def windows_per_epoch(self) -> int:
        """Return the windows that one epoch of training reads."""
        steps = self.config.steps_per_epoch
        all_windows = len(self.train)
        return all_windows if steps is None else min(all_windows, steps * self.config.batch_size)

    @property
    def num_steps(self) -> int:
        """Return the optimiser steps of a training that is not stopped early."""
        settings = self.config
        return settings.max_epochs * count_batches(
            len(self.train), settings.batch_size, settings.steps_per_epoch
        )

    def train_dataloader(self) -> Rounds:
        """Return the batches of the epoch that begins; the trainer asks anew every epoch."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        first, num_read = self.begins_at
        batches = ShuffledBatches(
            self.train,
            self.config.batch_size,
            self.seed,
            epoch,
            self.config.steps_per_epoch,
            self.processes,
            num_read if epoch == first else 0,
        )
        return Rounds(batches)

    def val_dataloader(self) -> OrderedBatches:
        """Return the validation batches."""
        return OrderedBatches(self.validation, self.config.batch_size, self.processes)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch as it is: it was gathered on the device."""
        return batch
