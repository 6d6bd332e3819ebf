"""A training whose numbers have gone wrong ends at once, and says what it had read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from mmts.data.dataset import Dataset
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema, StreamSchema
from mmts.data.times import format_times
from mmts.errors import TrainingError
from mmts.training.data_module import WindowDataModule
from mmts.training.loader import ShuffledBatches
from mmts.training.module import ForecastingModule

BATCH = 512
"""Windows that are looked at together."""

ORDINARY = 30.0
"""Spreads from the mean of the train split. Most that is measured stays well below; of what lies
farther out it is worth knowing where it stands."""


class NumberWatch(pl.Callback):
    """Raises TrainingError once a loss or a gradient is no number any more.

    On a CPU that is after the round of the step. Elsewhere a look waits for the device: it is
    taken where a loss is read anyway, and before each validation, so that no checkpoint ever holds
    such weights.
    """

    def __init__(self, dataset: Dataset, data: WindowDataModule) -> None:
        """Watch a training; data: what it reads of the dataset."""
        self.dataset = dataset
        self.data = data

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Look after a round."""
        assert isinstance(pl_module, ForecastingModule)
        since_logged = pl_module.num_steps % self.data.config.log_every_n_steps
        is_logged = since_logged < len(pl_module.round_losses)
        if pl_module.device.type == "cpu" or is_logged:
            self._look_at_steps(pl_module, trainer.current_epoch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look before anything is validated."""
        assert isinstance(pl_module, ForecastingModule)
        self._look_at_steps(pl_module, trainer.current_epoch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what the validation came to."""
        assert isinstance(pl_module, ForecastingModule)
        loss = pl_module.validation_loss
        if math.isfinite(loss):
            return
        epoch = 0 if trainer.sanity_checking else trainer.current_epoch + 1
        windows = self.data.validation
        order = torch.arange(len(windows), device=windows.windows.items.device)
        raise TrainingError(
            f"the validation loss is {loss} after epoch {epoch}. {self._suspect(windows, order)}"
        )

    def _look_at_steps(self, module: ForecastingModule, epoch: int) -> None:
        failed = int(module.failed_step)
        if failed < 0:
            return
        batches = ShuffledBatches(
            self.data.train,
            self.data.config.batch_size,
            self.data.seed,
            epoch,
            self.data.config.steps_per_epoch,
            num_read=failed - (module.num_steps - module.epoch_steps),
        )
        read = batches.order()[: batches.batch_size]
        is_loss = not torch.isfinite(module.failed_loss)
        value = module.failed_loss if is_loss else module.failed_norm
        raise TrainingError(
            f"the {'loss' if is_loss else 'gradient'} is {float(value)} in step {failed + 1}, of "
            f"epoch {epoch + 1}. {self._suspect(self.data.train, read)}"
        )

    def _suspect(self, windows: WindowGatherer, read: Tensor) -> str:
        """Say what is most likely to blame, and what to do; read: (window,), places of windows."""
        extreme = find_extreme(windows, read, self.dataset.schema)
        where = f"column {extreme.column!r} of stream {extreme.stream}"
        settings = self.data.config
        lower = f"lower training.learning_rate, which is {settings.learning_rate:g}"
        if settings.gradient_clip is None:
            lower += ", and set training.gradient_clip"
        if extreme.distance < ORDINARY:
            return (
                f"What was read is ordinary (at most {extreme.distance:.3g} spreads from the mean, "
                f"in {where}): {lower}."
            )
        schema, held = self.dataset.schema, windows.windows
        origin = held.origins[extreme.window].cpu().numpy().reshape(1)
        (time,) = format_times(origin, schema.has_time_zone, schema.time_zone)
        item = self.dataset.items[int(held.items[extreme.window])]
        return (
            f"A number that was read lies {extreme.distance:.3g} spreads from the mean: {where}, "
            f"item {item!r}, near the origin {time}. Correct it, or add it to missing_values of "
            f"the stream if it stands for none; else {lower}."
        )


class Extreme(NamedTuple):
    """The number of a batch that lies farthest out.

    distance: from the mean of the train split, in its spreads. window: its place in the split.
    """

    distance: float
    stream: str
    column: str
    window: int


def find_extreme(windows: WindowGatherer, read: Tensor, schema: DataSchema) -> Extreme:
    """Return the number farthest out among all that some windows hold, of past and future.

    read: (window,), places of at least one window.
    """
    columns = {name: _columns_of_channels(stream) for name, stream in schema.streams.items()}
    found = []
    for number, batch in enumerate(windows.batches(BATCH, read)):
        parts = [(n, w.values, w.observed, columns[n]) for n, w in batch.streams.items()]
        targets = list(schema.target_columns)
        parts.append((schema.target_stream, batch.target, batch.target_observed, targets))
        for name, values, observed, names in parts:
            distances = values.abs().masked_fill(~observed, 0.0)
            distances[..., [not column for column in names]] = 0.0
            farthest, place = distances.amax(dim=1).flatten().max(dim=0)
            window, channel = divmod(int(place), len(names))
            at = int(read[number * BATCH + window])
            found.append(Extreme(float(farthest), name, names[channel], at))
    return max(found, key=lambda extreme: extreme.distance)


def _columns_of_channels(schema: StreamSchema) -> list[str]:
    """Name the column of each channel that is a number; others, such as codes, are empty."""
    names = []
    for column in schema.columns:
        names += [column.name if column.type == "number" else ""] * column.width
    return names
