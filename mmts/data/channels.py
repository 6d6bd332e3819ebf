"""Some channels of a tensor, without a list of them for the device to wait for.

A tensor on a GPU that is indexed by a Python list first has that list copied to the GPU, and the
host waits until the GPU has done all that it was told before. Slices are numbers of the call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def take_channels(values: Tensor, channels: Sequence[int]) -> Tensor:
    """Return some channels of (..., channel), in this order; contiguous."""
    parts = [values[..., run] for run in find_runs(channels)]
    if not parts:
        return values[..., :0]
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, dim=-1)


def put_channels(values: Tensor, channels: Sequence[int], new: Tensor | float) -> None:
    """Overwrite some channels of (..., channel), in this order, in place."""
    begin = 0
    for run in find_runs(channels):
        end = begin + run.stop - run.start
        values[..., run] = new[..., begin:end] if isinstance(new, Tensor) else new
        begin = end


def find_runs(channels: Sequence[int]) -> list[slice]:
    """Return channels as slices, each as long as channels follow one another."""
    runs: list[slice] = []
    for channel in channels:
        if runs and runs[-1].stop == channel:
            runs[-1] = slice(runs[-1].start, channel + 1)
        else:
            runs.append(slice(channel, channel + 1))
    return runs
