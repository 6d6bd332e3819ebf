"""What is written first when a training has to be written: one window at a time, and Lightning.

A dataset cuts each window of each stream out of NumPy arrays, scales it and pads it; the
`DataLoader` of torch stacks windows to batches; Lightning optimises, logs and draws its bar as it
does when nobody says otherwise. The model and its loss are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from part_clock import BACKWARD, GATHERING, LOSS, OPTIMISER, SCALING, PartClock
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmts.data.batch import Batch, StreamWindow
from mmts.data.dataset import Dataset as StreamDataset
from mmts.data.scaling import StreamScaling
from mmts.data.schema import StreamSchema
from mmts.data.windows import find_anchors
from mmts.losses import masked_mean
from mmts.model import MultimodalForecaster
from mmts.training.config import TrainingConfig

Array = npt.NDArray[Any]
Sample = dict[str, Any]
SECOND = 1e6


class SampleStream:
    """One stream as rows of raw numbers, NaN where missing, of which windows are cut."""

    def __init__(
        self, dataset: StreamDataset, name: str, items: Tensor, origins: Tensor, clock: PartClock
    ) -> None:
        """Undo the scaling, as a user has raw numbers; streams on a clock, and static ones."""
        stream, self.schema = dataset.streams[name], dataset.schema.streams[name]
        self.clock = clock
        self.mean, self.scale = _numbers(self.schema, dataset.scaling[name])
        values = stream.values.numpy() * self.scale + self.mean
        self.values = np.where(stream.observed.numpy(), values, np.nan).astype(np.float32)
        self.begin, self.end = stream.begin.numpy(), stream.end.numpy()
        self.first_time = stream.first_time.numpy()
        self.anchors = find_anchors(stream, items, origins).numpy()
        self.past_only = [
            c for c in range(len(self.mean)) if c not in self.schema.channels("future")
        ]

    def cut(self, place: int, item: int, origin: int) -> Sample:
        """Return one window as the model reads it."""
        schema = self.schema
        first = int(self.anchors[place]) - schema.context_steps
        rows = slice(first, first + schema.num_steps)
        low, high = int(self.begin[item]), int(self.end[item])
        inside = self.values[max(rows.start, low) : min(rows.stop, high)]
        window = np.full((schema.num_steps, self.values.shape[1]), np.nan, dtype=np.float32)
        skipped = max(rows.start, low) - rows.start
        window[skipped : skipped + len(inside)] = inside
        if schema.has_future:
            window[schema.context_steps :, self.past_only] = np.nan
        with self.clock.part(SCALING):
            window = (window - self.mean) / self.scale
            observed = ~np.isnan(window)
            window = np.nan_to_num(window, nan=0.0).astype(np.float32)
        start, end, available = self._times(rows, low, item, origin)
        return {
            "values": torch.from_numpy(window),
            "observed": torch.from_numpy(observed),
            "start": torch.from_numpy(start),
            "end": torch.from_numpy(end),
            "available": torch.from_numpy(available),
        }

    def _times(self, rows: slice, low: int, item: int, origin: int) -> tuple[Array, Array, Array]:
        schema = self.schema
        if schema.clock is None:
            zeros = np.zeros(schema.num_steps, dtype=np.float32)
            return zeros, zeros, np.full_like(zeros, -np.inf)
        every = schema.clock.every
        begins = self.first_time[item] + (np.arange(rows.start, rows.stop) - low) * every - origin
        start, end = (t.astype(np.float32) / np.float32(SECOND) for t in (begins, begins + every))
        if schema.has_future:
            return start, end, np.full_like(start, -np.inf)
        return start, end, end + np.float32(schema.delay / SECOND)


class SampleDataset(Dataset[Sample]):
    """One window at a time."""

    def __init__(self, dataset: StreamDataset, clock: PartClock) -> None:
        """Keep the train windows of a dataset."""
        windows, self.schema = dataset.origins["train"], dataset.schema
        self.items, self.origins = windows.items.numpy(), windows.origins.numpy()
        items = windows.items.long()
        self.streams = {
            name: SampleStream(dataset, name, items, windows.origins, clock)
            for name in dataset.schema.streams
        }
        self.target = self.streams[dataset.schema.target_stream]
        self.columns = dataset.schema.target.channels("target")
        self.clock = clock

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.items)

    def __getitem__(self, place: int) -> Sample:
        """Return one window."""
        item, origin = int(self.items[place]), int(self.origins[place])
        target, horizon = self.target, self.schema.horizon
        assert target.schema.clock is not None
        every = target.schema.clock.every
        begin = int(target.begin[item]) + (origin - int(target.first_time[item])) // every
        ahead = target.values[begin : begin + horizon, self.columns]
        with self.clock.part(SCALING):
            scaled = (ahead - target.mean[self.columns]) / target.scale[self.columns]
            observed = ~np.isnan(scaled)
            scaled = np.nan_to_num(scaled, nan=0.0).astype(np.float32)
        edges = np.arange(horizon + 1, dtype=np.float32) * np.float32(every / SECOND)
        return {
            "streams": {name: s.cut(place, item, origin) for name, s in self.streams.items()},
            "step_edges": torch.from_numpy(edges),
            "target": torch.from_numpy(scaled),
            "target_observed": torch.from_numpy(observed),
        }


class NaiveModule(pl.LightningModule):
    """Logs its loss in every step, as examples do."""

    def __init__(
        self, model: MultimodalForecaster, config: TrainingConfig, clock: PartClock
    ) -> None:
        """Wrap a model."""
        super().__init__()
        self.model = model
        self.config = config
        self.clock = clock

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss."""
        forecast = self.model(batch)
        with self.clock.part(LOSS):
            losses = self.model.head.loss(forecast, batch.target)
            loss = masked_mean(losses, batch.target_observed)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.config.learning_rate)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch as it is: on a CPU it is there."""
        return batch

    def backward(self, loss: Tensor, *arguments: Any, **named: Any) -> None:
        """Go backward, on the clock."""
        with self.clock.part(BACKWARD):
            super().backward(loss, *arguments, **named)

    def configure_gradient_clipping(self, *arguments: Any, **named: Any) -> None:
        """Clip, on the clock."""
        with self.clock.part(OPTIMISER):
            super().configure_gradient_clipping(*arguments, **named)

    def optimizer_zero_grad(self, *arguments: Any, **named: Any) -> None:
        """Clear the gradients, on the clock."""
        with self.clock.part(OPTIMISER):
            super().optimizer_zero_grad(*arguments, **named)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Step, on the clock, from which all that the closure does besides is taken out."""
        with self.clock.part(OPTIMISER):
            optimizer.step(closure=self.clock.around("", optimizer_closure))


def naive_batches(
    dataset: StreamDataset, config: TrainingConfig, clock: PartClock
) -> DataLoader[Any]:
    """Return a loader as torch has it: shuffled, in the same process."""
    return DataLoader(
        SampleDataset(dataset, clock),
        batch_size=config.batch_size,
        shuffle=True,
        collate_fn=clock.around(GATHERING, stack),
    )


def stack(samples: list[Sample]) -> Batch:
    """Stack windows by torch's own function, and name what comes out."""
    found = torch.utils.data.default_collate(samples)
    streams = {name: StreamWindow(**window) for name, window in found.pop("streams").items()}
    return Batch(streams=streams, **found)


def _numbers(schema: StreamSchema, scaling: StreamScaling) -> tuple[Array, Array]:
    """Return mean and scale of each channel; 0 and 1 where a column is no number."""
    mean, scale = np.zeros(schema.num_channels), np.ones(schema.num_channels)
    for column, place in zip(schema.columns, schema.slices, strict=True):
        found = scaling.numbers.get(column.name)
        if found is not None:
            mean[place], scale[place] = found.mean, found.scale
    return mean.astype(np.float32), scale.astype(np.float32)
