"""Batches in an order that only the seed and the epoch decide."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from mmts.data.batch import Batch, blank
from mmts.data.gathering import WindowGatherer
from mmts.training.processes import ALONE, Processes


def count_batches(num_windows: int, batch_size: int, max_batches: int | None = None) -> int:
    """Return how many batches hold so many windows, and no more than allowed."""
    batches = -(-num_windows // batch_size)
    return batches if max_batches is None else min(batches, max_batches)


def split_batches(
    windows: WindowGatherer, batch_size: int, order: Tensor, processes: Processes
) -> Iterator[Batch]:
    """Yield this process's part of each batch, as many batches in every process.

    order: (window,) int32 or int64, places of the windows that all processes read together.
    batch_size: of all parts together, a multiple of the number of processes.
    """
    own, size = processes.share(order), batch_size // processes.count
    yield from windows.batches(size, own)
    if count_batches(len(own), size) < count_batches(len(order), batch_size):
        # The last batch holds fewer windows than there are processes. They take every step
        # together, so that this one takes it on nothing.
        yield blank(windows.gather(order[:1]))


class ShuffledBatches:
    """One epoch of training batches: a seeded permutation of all windows, or its beginning.

    Of several processes each yields its own part of every batch.
    The order is drawn on the device where the windows lie, so that nothing travels in the step.
    """

    def __init__(
        self,
        windows: WindowGatherer,
        batch_size: int,
        seed: int,
        epoch: int,
        max_batches: int | None = None,
        processes: Processes = ALONE,
        num_read: int = 0,
    ) -> None:
        """Fix the order of one epoch, counted from 0; num_read: batches to leave out, the first."""
        self.processes = processes
        self.windows = windows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.num_batches = count_batches(len(windows), batch_size, max_batches)
        self.num_read = num_read

    def __len__(self) -> int:
        """Return the number of batches that are left; the last one may be smaller."""
        return self.num_batches - self.num_read

    def order(self) -> Tensor:
        """Return the places of the windows that are left, of all processes together, (window,)."""
        device = self.windows.windows.items.device
        generator = torch.Generator(device).manual_seed(self.seed * 1_000_003 + self.epoch)
        # Of four bytes where they do, as there may be very many windows. On a CPU the permutation
        # is the same.
        kind = torch.int32 if len(self.windows) <= torch.iinfo(torch.int32).max else torch.int64
        order = torch.randperm(len(self.windows), generator=generator, device=device, dtype=kind)
        return order[self.num_read * self.batch_size : self.num_batches * self.batch_size]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        yield from split_batches(self.windows, self.batch_size, self.order(), self.processes)


STEPS_PER_ROUND, STEPS_PER_ROUND_TOGETHER = 16, 4
"""Optimiser steps in a round, of one process and of several: these stop at its end alone, as each
waits for the others, and their steps take longer than what Lightning does around them."""


class Rounds:
    """The batches of an epoch in groups, each of which Lightning takes for one batch."""

    def __init__(self, batches: ShuffledBatches, steps_per_round: int | None = None) -> None:
        """Group the batches of one epoch; by default as many as suit the number of processes."""
        self.batches = batches
        if steps_per_round is None:
            is_alone = batches.processes.count == 1
            steps_per_round = STEPS_PER_ROUND if is_alone else STEPS_PER_ROUND_TOGETHER
        self.steps_per_round = steps_per_round

    def __len__(self) -> int:
        """Return the number of rounds; the last one may be shorter.

        An epoch that was stopped after its last batch has one round without any: Lightning would
        leave out the validation, too, of an epoch that has none.
        """
        return max(1, -(-len(self.batches) // self.steps_per_round))

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        """Yield rounds; their batches are gathered when it is their turn."""
        batches = iter(self.batches)
        for _ in range(len(self)):
            yield islice(batches, self.steps_per_round)


class OrderedBatches:
    """All windows in order, for validation; of several processes each yields its own part."""

    def __init__(
        self, windows: WindowGatherer, batch_size: int, processes: Processes = ALONE
    ) -> None:
        """Fix the batch size."""
        self.processes = processes
        self.windows = windows
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return count_batches(len(self.windows), self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        order = torch.arange(len(self.windows), device=self.windows.windows.items.device)
        return split_batches(self.windows, self.batch_size, order, self.processes)
