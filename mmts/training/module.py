"""The training step, the validation and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mmts.data.batch import Batch
from mmts.linear.share import Shares
from mmts.model import MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.optimisation import Optimisation
from mmts.training.processes import ALONE, Processes
from mmts.training.recording import CudaGraph, RecordedSteps
from mmts.training.state import KeptState, model_tensors
from mmts.training.waiting import Waiting


class ForecastingModule(pl.LightningModule):
    """Trains a forecaster on its head's own loss, over observed values only.

    Lightning sees rounds of several optimiser steps as one step: what it does around each would
    take longer than a step of a small model. Sums stay on the device; Python sees a loss once per
    epoch and every `log_every_n_steps`.

    num_steps: taken so far. epoch_steps: taken in this epoch.
    round_losses, round_norms: (step,), of the last round; norms are those of the gradients before
    they are clipped. validation_loss: the last one, with the shares of the network that were chosen
    then, chosen_shares. Losses are those over the parts of all processes. failed_step,
    failed_loss, failed_norm: of the first step, from 0, whose loss or gradient was no number; -1
    where there was none. waiting: for the batches of this epoch. step_listener: told after each
    step how many there were in this epoch, as a round of a large model takes its time.
    round_ends: asked after each step whether the round is to end with it. kept: where to begin.
    """

    round_losses: Tensor
    round_norms: Tensor
    failed_step: Tensor
    failed_loss: Tensor
    failed_norm: Tensor
    train_sum: Tensor
    validation_sum: Tensor
    validation_count: Tensor

    def __init__(
        self,
        model: MultimodalForecaster,
        config: TrainingConfig,
        seed: int,
        num_steps: int,
        processes: Processes = ALONE,
        may_record: bool = False,
    ) -> None:
        """Wrap a model; num_steps: optimiser steps over which the learning rate runs its course.

        may_record: whether steps on a GPU are recorded and played back.
        """
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.config = config
        self.seed = seed
        self.processes = processes
        self.may_record = may_record
        self.planned_steps = num_steps
        self.num_steps = 0
        self.epoch_steps = 0
        self.validation_loss = math.nan
        self.chosen_shares = Shares()
        self.waiting = Waiting()
        self.step_listener: Callable[[int], None] | None = None
        self.round_ends: Callable[[], bool] | None = None
        self.kept: KeptState | None = None
        self.offered = model.network_share.offered if self._chooses_shares() else [Shares()]
        for name, shape in (
            ("train_sum", ()),
            ("validation_sum", (len(self.offered),)),
            ("validation_count", ()),
        ):
            zeros = torch.zeros(shape, dtype=torch.float64)
            self.register_buffer(name, zeros, persistent=False)
        for name, value in (
            ("failed_step", torch.tensor(-1)),
            ("failed_loss", torch.tensor(0.0)),
            ("failed_norm", torch.tensor(0.0)),
        ):
            self.register_buffer(name, value, persistent=False)

    def take_up(self, kept: KeptState) -> None:
        """Go on where an earlier training was, once the weights lie where they are trained."""
        self.kept = kept
        self.num_steps = kept.state.num_steps

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on, where it lies."""
        own = {"train_sum": self.train_sum}
        return model_tensors(self.model) | self.optimisation.tensors() | own

    def on_train_epoch_start(self) -> None:
        """Begin the sum of an epoch, or go on with it."""
        kept, self.kept = self.kept, None
        if kept is not None and kept.state.epoch_steps:
            self.train_sum.copy_(kept.tensors["train_sum"])
            self.epoch_steps = kept.state.epoch_steps
            self.waiting.begin_anew(kept.state.waited_seconds)
            return
        self.train_sum.zero_()
        self.epoch_steps = 0
        self.waiting.begin_anew()

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Take the steps of one round."""
        losses, norms = [], []
        for batch in self.waiting.watch(batches):
            # Dropout is a function of seed and step, so that a step can be repeated exactly.
            seed = seed_of_step(self.seed, self.num_steps, self.processes.rank)
            seed_dropout(seed, self.device)
            loss, norm = self.steps.take(batch, self.num_steps)
            losses.append(loss)
            norms.append(norm)
            self.num_steps += 1
            if self.step_listener is not None:
                self.step_listener(self.epoch_steps + len(losses))
            if self.round_ends is not None and self.round_ends():
                break
        together = torch.stack(losses) if losses else self.train_sum.new_zeros(0)
        self.round_losses = self.processes.add_up(together) / self.processes.count
        self.epoch_steps += len(losses)
        if losses:
            self.round_norms = torch.stack(norms)
            self._note_failure()
        # In double, where the sum is the same however the steps fall into rounds.
        self.train_sum += self.round_losses.double().sum()

    def _note_failure(self) -> None:
        """Keep the first step whose loss or gradient is no number, without waiting for it."""
        losses, norms = self.round_losses, self.round_norms
        is_bad = ~(torch.isfinite(losses) & torch.isfinite(norms))
        first = is_bad.int().argmax(dim=0, keepdim=True)
        is_news = is_bad.any() & (self.failed_step < 0)
        step = self.num_steps - len(losses) + first[0]
        for kept, value in (
            (self.failed_step, step),
            (self.failed_loss, losses.gather(0, first)[0]),
            (self.failed_norm, norms.gather(0, first)[0]),
        ):
            kept.copy_(torch.where(is_news, value, kept))

    def mean_train_loss(self) -> float:
        """Return the mean loss over the steps of the epoch."""
        return float(self.train_sum) / self.epoch_steps

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return self.optimisation.learning_rate(self.num_steps - 1)

    def on_validation_start(self) -> None:
        """Put the mean of the weights in their place, which is what is validated and kept."""
        if self.optimisation.average is not None:
            self.optimisation.average.swap()

    def on_validation_end(self) -> None:
        """Put the weights back; callbacks have kept what they want by now."""
        if self.optimisation.average is not None:
            self.optimisation.average.swap()

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of a validation."""
        self.validation_sum.zero_()
        self.validation_count.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the losses of one batch, for each of the shares offered."""
        linear, whole = self.model.forecast_in_parts(batch)
        forecasts: Iterable[Tensor] = [whole]
        if linear is not None and self.offered != [Shares()]:
            forecasts = self.model.network_share.each(linear, whole)
        for place, forecast in enumerate(forecasts):
            losses = self.model.head.loss(forecast, batch.target)
            self.validation_sum[place] += losses.masked_fill(~batch.target_observed, 0.0).sum()
        self.validation_count += batch.target_observed.sum()

    def on_validation_epoch_end(self) -> None:
        """Choose the shares, and log the mean loss over all observed values.

        No batch weighs more than its values.
        """
        sums = torch.cat([self.validation_sum, self.validation_count[None]])
        *totals, count = self.processes.add_up(sums)
        losses = torch.stack(totals) / count.clamp(min=1)
        if self._chooses_shares():
            self.chosen_shares = self.model.network_share.choose(losses)
        loss = losses[self.offered.index(self.chosen_shares)]
        self.validation_loss = float(loss)
        if self.model.linear is not None:
            self.model.network_share.chosen.copy_(torch.tensor(self.chosen_shares))
        # All processes have the same by now, of which the largest is the same to the bit.
        self.log("val/loss", loss.float(), sync_dist=self.processes.count > 1, reduce_fx="max")

    def _chooses_shares(self) -> bool:
        return self.config.shrinkage and self.model.linear is not None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Prepare the steps, now that the weights lie where they are trained."""
        self.optimisation = Optimisation(
            self.model, self.config, self.planned_steps, self.processes, self.manual_backward
        )
        if self.kept is not None:
            self.optimisation.take_up(self.kept.tensors)
        self.steps: Optimisation | RecordedSteps = self.optimisation
        if self.may_record and self.device.type == "cuda":
            self.steps = RecordedSteps(self.optimisation, CudaGraph)
        return self.optimisation.optimizer


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """Return what dropout is drawn from in one step of one process."""
    # On a CPU only the lowest 32 bits tell seeds apart: the ranks must differ in these.
    return seed * 1_000_003 + step + rank * 2_654_435_761


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what a step draws from, on the CPU and on the device of the model.

    `torch.manual_seed` does so for all kinds of devices there are. Of those that nobody has used
    it keeps a copy of the stack for later, which takes longer than a small model's optimiser.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
