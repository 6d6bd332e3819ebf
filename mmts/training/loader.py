"""Batches in an order that only the seed and the epoch decide."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer


def count_batches(num_windows: int, batch_size: int, max_batches: int | None = None) -> int:
    """Return how many batches hold so many windows, and no more than allowed."""
    batches = -(-num_windows // batch_size)
    return batches if max_batches is None else min(batches, max_batches)


class ShuffledBatches:
    """One epoch of training batches: a seeded permutation of all windows, or its beginning.

    The order is drawn on the device where the windows lie, so that nothing travels in the step.
    """

    def __init__(
        self,
        windows: WindowGatherer,
        batch_size: int,
        seed: int,
        epoch: int,
        max_batches: int | None = None,
    ) -> None:
        """Fix the order of one epoch, counted from 0."""
        self.windows = windows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.num_batches = count_batches(len(windows), batch_size, max_batches)

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        device = self.windows.windows.items.device
        generator = torch.Generator(device).manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.windows), generator=generator, device=device)
        yield from self.windows.batches(
            self.batch_size, order[: self.num_batches * self.batch_size]
        )


class OrderedBatches:
    """All windows in order, for validation."""

    def __init__(self, windows: WindowGatherer, batch_size: int) -> None:
        """Fix the batch size."""
        self.windows = windows
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return count_batches(len(self.windows), self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        return self.windows.batches(self.batch_size)
