"""Processes that meet, train together, and part."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import distributed

from mmts.config import ExperimentConfig
from mmts.training.processes import Processes, choose_accelerator

_HERE = "127.0.0.1"
# Untyped, as torch offers stores only where it was built with them.
_distributed: Any = distributed

_trainings = count()
"""Of this process, as torchrun's store remembers where the earlier ones met."""


@contextmanager
def joined_by_torchrun(config: ExperimentConfig, processes: Processes) -> Iterator[None]:
    """Join the processes that torchrun started; nothing, where it started none."""
    if processes.count == 1 or not processes.by_torchrun:
        yield
        return
    store, *_ = next(_distributed.rendezvous("env://"))
    store = _distributed.PrefixStore(f"mmts/{next(_trainings)}", store)
    with joined(config, processes, store):
        yield


def meet_here(processes: Processes, port: int = 0) -> Any:
    """Return the store over which the processes of one machine meet; the first one opens it.

    port: where it is; the first one takes one that is free.
    """
    return _distributed.TCPStore(
        _HERE, port, processes.count, processes.is_first, wait_for_workers=False
    )


@contextmanager
def joined(config: ExperimentConfig, processes: Processes, store: Any) -> Iterator[None]:
    """Join processes that meet at a store; those that we started share the cores."""
    on_gpu = choose_accelerator(config.training, processes) == "gpu"
    device = torch.device("cuda", processes.local_rank) if on_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    num_threads = torch.get_num_threads()
    if not processes.by_torchrun:
        # torchrun gives each process a number of its own.
        torch.set_num_threads(max(1, num_threads // processes.local_count))
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=processes.rank,
        world_size=processes.count,
        device_id=device,
    )
    try:
        yield
    except BaseException as error:
        _forget_frames(error)
        raise
    finally:
        distributed.destroy_process_group()
        # What was joined ends its threads only when nobody holds it any more, as a trainer does
        # that went round in circles. Threads that outlive Python abort the process.
        gc.collect()
        torch.set_num_threads(num_threads)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions held that an error has ended."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
