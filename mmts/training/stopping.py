"""What a signal to end does to one of several processes."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytorch_lightning as pl

from mmts.training.processes import Processes


class StopOnSigterm(pl.Callback):
    """Ends the process at once: the first one as Ctrl-C does, any other without a word.

    Lightning would ask the other processes first, in the middle of whatever they share just then.
    While the first process fails it may take its time to record that: torchrun sends the signal
    when any other process has failed, and kills what has not ended half a minute later.
    """

    def __init__(self, processes: Processes) -> None:
        """Do nothing until it listens."""
        self.processes = processes
        self.ends = False
        self.can_listen = (
            processes.count > 1 and threading.current_thread() is threading.main_thread()
        )
        self.before = signal.getsignal(signal.SIGTERM)

    def listen(self) -> None:
        """Take the place of whatever answers the signal; only the main thread can."""
        if self.can_listen:
            signal.signal(signal.SIGTERM, self._stop if self.processes.is_first else signal.SIG_DFL)

    def release(self) -> None:
        """Give back what answered the signal before."""
        if self.can_listen:
            signal.signal(signal.SIGTERM, self.before)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the place of Lightning, until it gives back what it has replaced."""
        self.listen()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let the process end by itself."""
        self.ends = True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.ends:
            self.ends = True
            raise KeyboardInterrupt
