"""The training step, the validation and the optimiser."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from mmts.data.batch import Batch
from mmts.losses import masked_mean
from mmts.model import MultimodalForecaster
from mmts.training.config import TrainingConfig


class ForecastingModule(pl.LightningModule):
    """Trains a forecaster on its head's own loss, over observed values only.

    Sums stay on the device; Python sees a loss once per epoch and every `log_every_n_steps`.
    """

    train_sum: Tensor
    validation_sum: Tensor
    validation_count: Tensor

    def __init__(
        self, model: MultimodalForecaster, config: TrainingConfig, seed: int, num_steps: int
    ) -> None:
        """Wrap a model; num_steps: optimiser steps over which the learning rate runs its course."""
        super().__init__()
        self.model = model
        self.config = config
        self.seed = seed
        self.num_steps = num_steps
        for name in ("train_sum", "validation_sum", "validation_count"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64), persistent=False)

    def on_train_epoch_start(self) -> None:
        """Begin the sum of an epoch."""
        self.train_sum.zero_()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make dropout a function of seed and step, so that a step can be repeated exactly."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        losses = self.model.head.loss(self.model(batch), batch.target)
        loss = masked_mean(losses, batch.target_observed)
        self.train_sum += loss.detach()
        return loss

    def mean_train_loss(self) -> float:
        """Return the mean loss over the steps of the epoch."""
        return float(self.train_sum) / self.trainer.num_training_batches

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of a validation."""
        self.validation_sum.zero_()
        self.validation_count.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the losses of one batch."""
        losses = self.model.head.loss(self.model(batch), batch.target)
        self.validation_sum += losses.masked_fill(~batch.target_observed, 0.0).sum()
        self.validation_count += batch.target_observed.sum()

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over all observed values: no batch weighs more than its values."""
        loss = self.validation_sum / self.validation_count.clamp(min=1)
        self.log("val/loss", loss.float())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW (arXiv 1711.05101) with linear warm-up and cosine decay."""
        decayed = [p for p in self.parameters() if p.ndim >= 2]
        free = [p for p in self.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.config.weight_decay},
                {"params": free, "weight_decay": 0.0},
            ],
            lr=self.config.learning_rate,
        )
        warmup = max(1, round(self.config.warmup_fraction * self.num_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(1, self.num_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
