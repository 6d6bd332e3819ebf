"""Lightning without its talk: what matters of a training, mmts logs itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# They tell which devices were found, that training has ended, and which process begins.
_LOGGERS = (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.accelerators.cuda",
    "lightning_fabric.utilities.distributed",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Let through only what Lightning warns of, and of that only what a user can act on."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Raised by Lightning's own use of torch.
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
            # Batches are gathered from tensors; workers would only cost.
            warnings.filterwarnings("ignore", message=r".*does not have many workers")
            # torch has a new name for a setting, which older versions do not know.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
