"""Whether one forecast is better than another, or only seems so."""

from __future__ import annotations

import torch
from torch import Tensor

CONFIDENCE = 0.95


def is_better(simple: Tensor, rich: Tensor, origins: Tensor, span: int) -> bool:
    """Return whether the richer of two forecasts has the smaller error, with `CONFIDENCE`.

    simple, rich: (window,) errors on the same windows. origins: (window,) int64 microseconds.
    span: of a horizon, in the same unit.

    Windows that overlap err alike, and so do items at the same time: all windows whose origins lie
    within one horizon count as one. A paired t-test over these; with a single one nothing is known.
    """
    from scipy.stats import t  # Heavy, and not needed for a forecast.

    block = (origins - origins.min()) // span
    count = torch.bincount(block)
    gain = torch.bincount(block, weights=(simple - rich).double())[count > 0] / count[count > 0]
    if len(gain) < 2:
        return False
    needed = float(t.ppf(CONFIDENCE, len(gain) - 1)) * float(gain.std()) / len(gain) ** 0.5
    return bool(gain.mean() > needed)
