"""The target of windows, without the other streams."""

from __future__ import annotations

import torch
from torch import Tensor

from mmts.data.gathering import WindowGatherer

BATCH_SIZE = 512


def target_only(windows: WindowGatherer) -> WindowGatherer:
    """Return the same windows of the target stream alone, which are gathered much faster."""
    name = windows.schema.target_stream
    return WindowGatherer(windows.schema, {name: windows.streams[name]}, windows.windows)


def collect_targets(windows: WindowGatherer) -> tuple[Tensor, Tensor]:
    """Return what came after all origins and whether it was observed, (window, horizon, target)."""
    pieces = [(b.target, b.target_observed) for b in target_only(windows).batches(BATCH_SIZE)]
    targets, observed = zip(*pieces, strict=True)
    return torch.cat(targets), torch.cat(observed)
