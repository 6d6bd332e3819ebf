"""How long a training waits for its data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Waiting:
    """Adds up the time that it takes to get hold of the next thing.

    It reads a clock twice for each, and asks nothing of the device: on a GPU, what counts is how
    long it takes to tell the device what to gather, while it goes on with what it was told before.
    The device itself has then waited for that long at most.

    seconds: since the last `begin_anew`.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.seconds = 0.0

    def begin_anew(self, seconds: float = 0.0) -> None:
        """Start again, for another epoch, or at what it has waited before."""
        self.seconds = seconds

    def watch(self, things: Iterable[T]) -> Iterator[T]:
        """Yield the same things."""
        remaining = iter(things)
        while True:
            began = time.perf_counter()
            try:
                thing = next(remaining)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield thing
