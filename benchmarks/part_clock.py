"""Where the time of a training step goes: clocks around its parts, in the order of the calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from mmts.encoders.base import Encoder
from mmts.model import MultimodalForecaster

Item = TypeVar("Item")

GATHERING, SCALING, LOSS = "gathering", "scaling", "loss"
LINEAR, HEAD, BACKWARD, OPTIMISER = "linear path", "head", "backward", "optimiser"
REST_OF_MODEL = "rest of the model"


class PartClock:
    """Adds up the seconds of parts; what a part spends in another one counts for that one alone.

    For a device that computes at once, as a CPU does.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside for a part; an empty name counts for none."""
        self._book()
        self._running.append(name)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that counts for a part."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        return timed

    def around_each(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """Yield the same, and count for a part what it takes to get them."""
        while True:
            with self.part(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def _book(self) -> None:
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


def watch_model(clock: PartClock, model: MultimodalForecaster) -> MultimodalForecaster:
    """Put clocks around the parts of one model, which stays as it is in all else."""

    def watch(owner: nn.Module, method: str, part: str) -> None:
        # On the object, not on its class: other models are left alone.
        setattr(owner, method, clock.around(part, getattr(owner, method)))

    watch(model, "forward", REST_OF_MODEL)
    for key, encoder in model.encoders.items():
        assert isinstance(encoder, Encoder)
        for method in ("embed", "run_layer", "run_norm"):
            watch(encoder, method, f"encoder {_name(key)}")
    for key, edge in model.interactions.items():
        watch(edge, "forward", f"edge {_name(key)}")
    for part in (model.decoder, model.head):
        watch(part, "forward", HEAD)
    watch(model.head, "loss", LOSS)
    if model.linear is not None:
        watch(model.linear, "forward", LINEAR)
        watch(model.linear_share, "forward", LINEAR)
    return model


def _name(key: str) -> str:
    return key.strip("[]").replace(":", ".")
