"""A bound on what a module may take while it is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_SIZED = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


@contextmanager
def at_most(num_values: int) -> Iterator[None]:
    """Let what is built inside make tensors of so many values together, and no more.

    Raises MemoryError, before anything is taken, where a tensor would go beyond.
    """
    with _Counted(num_values):
        yield


class _Counted(TorchFunctionMode):
    """Adds up the sizes that torch is asked for."""

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self._allowed = num_values
        self._taken = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SIZED:
            self._take(_asked_for(args, kwargs))
        elif func is torch.arange:
            self._take(_counted_through(*args))
        return func(*args, **kwargs)

    def _take(self, num_values: int) -> None:
        self._taken += num_values
        if self._taken > self._allowed:
            raise MemoryError(f"{self._taken:,} values, and {self._allowed:,} are allowed")


def _counted_through(start: float, end: float | None = None, step: float = 1) -> int:
    first, last = (0, start) if end is None else (start, end)
    return max(0, math.ceil((last - first) / step))


def _asked_for(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    size = kwargs.get("size", args)
    if args and isinstance(args[0], Sequence):
        size = args[0]
    return math.prod(size)
