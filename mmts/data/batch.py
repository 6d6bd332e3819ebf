"""Batches: what the model reads, and what it should have said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class StreamWindow:
    """What was known of one stream at the origins of a batch.

    values: (batch, step, channel) float32, scaled; zero where not observed.
    observed: (batch, step, channel) bool; False too where a value was not yet known.
    start, end: (batch, step) float32 seconds relative to the origin, the period of each row.
    available: (batch, step) float32 seconds relative to the origin, when a row became known;
        -inf where it always was.
    """

    values: Tensor
    observed: Tensor
    start: Tensor
    end: Tensor
    available: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds, in the order of the fields."""
        return (self.values, self.observed, self.start, self.end, self.available)

    def map(self, function: Callable[[Tensor], Tensor]) -> StreamWindow:
        """Return a window of what becomes of each tensor."""
        return StreamWindow(*map(function, self.tensors))

    def split(self, size: int) -> Iterator[StreamWindow]:
        """Yield the windows in batches that share memory; the last one may be smaller."""
        return map(StreamWindow, *(torch.split(tensor, size) for tensor in self.tensors))


@dataclass(frozen=True)
class Batch:
    """Windows of all streams, and what came after the origins.

    step_edges: (batch, horizon + 1) float32 seconds relative to the origin, where forecast steps
        begin and the last one ends.
    target: (batch, horizon, target) float32, scaled; zero where not observed.
    target_observed: (batch, horizon, target) bool.
    """

    streams: dict[str, StreamWindow]
    step_edges: Tensor
    target: Tensor
    target_observed: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.target)

    @property
    def tensors(self) -> list[Tensor]:
        """All that it holds, stream by stream."""
        held = [tensor for window in self.streams.values() for tensor in window.tensors]
        return [*held, self.step_edges, self.target, self.target_observed]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch of what becomes of each tensor."""
        streams = {name: window.map(function) for name, window in self.streams.items()}
        own = (self.step_edges, self.target, self.target_observed)
        return Batch(streams, *map(function, own))

    def split(self, size: int) -> Iterator[Batch]:
        """Yield its windows in batches that share its memory; the last one may be smaller."""
        if len(self) <= size:
            yield self
            return
        streams = zip(*(window.split(size) for window in self.streams.values()), strict=True)
        own = (torch.split(t, size) for t in (self.step_edges, self.target, self.target_observed))
        for windows, *parts in zip(streams, *own, strict=True):
            yield Batch(dict(zip(self.streams, windows, strict=True)), *parts)


def blank(batch: Batch) -> Batch:
    """Return a batch of the same shape that holds nothing: no value is observed, nor a target."""
    for name in batch.streams:
        batch = without_stream(batch, name)
    return replace(
        batch,
        target=torch.zeros_like(batch.target),
        target_observed=torch.zeros_like(batch.target_observed),
    )


def without_stream(batch: Batch, name: str) -> Batch:
    """Return the batch as it would be had one stream been absent."""
    window = batch.streams[name]
    absent = replace(
        window,
        values=torch.zeros_like(window.values),
        observed=torch.zeros_like(window.observed),
    )
    return replace(batch, streams={**batch.streams, name: absent})
