"""Signals that stay ours while Lightning trains."""

from __future__ import annotations

import pytorch_lightning as pl

from mmts.training.stopping import StopSignals


class ListenAgain(pl.Callback):
    """Lets our answer to signals stand, where Lightning has put its own."""

    def __init__(self, signals: StopSignals) -> None:
        """Take what listens."""
        self.signals = signals

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, where what training starts from is validated."""
        self.signals.listen()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, where training begins."""
        self.signals.listen()
