"""The processes that train one model together."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from mmts.errors import ConfigError, raise_all
from mmts.training.config import TrainingConfig

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How many processes train together, and which of them this is.

    rank: from 0. count: on all machines. local_rank, local_count: on this machine.
    by_torchrun: whether torchrun started them; otherwise the first one starts the others.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    by_torchrun: bool = False

    @property
    def is_first(self) -> bool:
        """The first process alone writes, logs and draws."""
        return self.rank == 0

    def share(self, order: Tensor) -> Tensor:
        """Return what this process takes of something in order, (n,)."""
        return order[self.rank :: self.count]

    def add_up(self, numbers: Tensor) -> Tensor:
        """Return the sum over all processes, in place; each of them has to ask for it."""
        if self.count > 1:
            distributed.all_reduce(numbers)
        return numbers

    def tell(self, result: T | None) -> T:
        """Return what the first process has to tell; others give None, which torchrun started.

        They wait for up to a day: the first one calibrates and keeps what they trained together,
        which may take it longer than the minutes that NCCL waits. If it fails, torchrun ends them.
        """
        told = [result]
        if self.count > 1 and self.by_torchrun:
            group = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
            distributed.broadcast_object_list(told, group=group)
        assert told[0] is not None
        return told[0]


ALONE = Processes()


def find_processes(config: TrainingConfig) -> Processes:
    """Tell which process this is; raises ConfigError where so many cannot train on this machine."""
    processes = _place(config)
    raise_all(ConfigError, _faults(config, processes))
    return processes


def choose_accelerator(config: TrainingConfig, processes: Processes) -> str:
    """Return the name of the devices to train on."""
    if processes.count == 1 or config.accelerator != "auto":
        return config.accelerator
    return "gpu" if torch.cuda.is_available() else "cpu"


@contextmanager
def muted() -> Iterator[None]:
    """Keep back what the first process says as well."""
    log = logging.getLogger("mmts")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _place(config: TrainingConfig) -> Processes:
    if distributed.is_available() and distributed.is_torchelastic_launched():
        # No settings, but how torchrun tells a process its place.
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, count, local_rank, local_count = (int(os.environ[name]) for name in names)
        return Processes(
            rank=rank,
            count=count,
            local_rank=local_rank,
            local_count=local_count,
            by_torchrun=True,
        )
    return Processes(count=config.devices, local_count=config.devices)


def _faults(config: TrainingConfig, processes: Processes) -> Iterator[str]:
    count, name = processes.count, choose_accelerator(config, processes)
    found = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if processes.by_torchrun and config.devices not in (1, count):
        yield (
            f"training.devices: {config.devices}, but torchrun started {count} processes. "
            "Leave the key out: torchrun decides."
        )
    if not found.get(name, True):
        yield (
            f"training.accelerator: there is no {name} on this machine. "
            "Take auto, which uses one where there is one."
        )
    elif name == "gpu" and processes.local_count > torch.cuda.device_count():
        yield (
            f"training.devices: {processes.local_count} processes need a GPU each, and this "
            f"machine has {torch.cuda.device_count()}. Take no more than there are, or "
            "training.accelerator=cpu."
        )
    elif name == "mps" and count > 1:
        yield f"training.devices: {count} processes cannot share mps. Take accelerator=cpu."
    if count > 1 and config.cuda_graph and name in ("gpu", "cuda"):
        yield f"training.cuda_graph: the steps of {count} processes are not recorded. Leave it out."
    if count > 1 and not distributed.is_available():
        yield f"training.devices: this torch cannot train in {count} processes. Take 1."
    if config.batch_size % count:
        # Else the same windows would make other batches than one process makes of them.
        below = config.batch_size // count * count
        yield (
            f"training.batch_size: {config.batch_size} windows cannot be split evenly over "
            f"{count} processes. Take {below or count}"
            + (f" or {below + count}." if below else ".")
        )
