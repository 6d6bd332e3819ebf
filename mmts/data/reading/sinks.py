"""Where the columns of a table go while they are read, chunk by chunk: memory, or a disk."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class ColumnSink(Protocol):
    """A column that grows by chunks."""

    def append(self, values: Array) -> None:
        """Add the values of the next rows, (row,); they are of the dtype that was asked for."""

    def finish(self) -> Array:
        """Return all values, (row,), in memory or memory-mapped."""


class Sinks(Protocol):
    """What makes sinks.

    A column is opened once as it is read, and, where rows must be sorted or merged, a second time
    while the first array is read from: the second takes its place.
    """

    def open(self, name: str, dtype: npt.DTypeLike) -> ColumnSink:
        """Return the sink of a column: `times`, `items`, `available` or `columns.NAME`."""


class MemorySinks:
    """Sinks that keep everything in memory."""

    def open(self, name: str, dtype: npt.DTypeLike) -> ColumnSink:
        return _MemorySink(np.dtype(dtype))


class _MemorySink:
    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._chunks: list[Array] = []

    def append(self, values: Array) -> None:
        self._chunks.append(np.ascontiguousarray(values, dtype=self._dtype))

    def finish(self) -> Array:
        chunks, self._chunks = self._chunks, []
        if len(chunks) == 1:
            return chunks[0]
        return np.concatenate(chunks) if chunks else np.zeros(0, dtype=self._dtype)
