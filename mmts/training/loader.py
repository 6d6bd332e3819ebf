"""Batches in an order that only the seed and the epoch decide."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mmts.data.batch import Batch, WindowGatherer


class ShuffledBatches:
    """One epoch of training batches: a seeded permutation of all windows.

    The order is drawn on the device where the windows lie, so that nothing travels in the step.
    """

    def __init__(self, windows: WindowGatherer, batch_size: int, seed: int, epoch: int) -> None:
        """Fix the order of one epoch, counted from 0."""
        self.windows = windows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        device = self.windows.windows.items.device
        generator = torch.Generator(device).manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.windows), generator=generator, device=device)
        for first in range(0, len(order), self.batch_size):
            yield self.windows.gather(order[first : first + self.batch_size])


class OrderedBatches:
    """All windows in order, for validation."""

    def __init__(self, windows: WindowGatherer, batch_size: int) -> None:
        """Fix the batch size."""
        self.windows = windows
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        return self.windows.batches(self.batch_size)
