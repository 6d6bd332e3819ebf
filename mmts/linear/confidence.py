"""Whether one forecast is better than another, or only seems so."""

from __future__ import annotations

import torch
from torch import Tensor

CONFIDENCE = 0.95

CLEARLY = 0.9
"""Part of the simpler one's error below which a richer forecast is taken to be better where all
windows lie within one horizon, so that nothing is known of chance."""


def is_better(simple: Tensor, rich: Tensor, origins: Tensor, span: int) -> bool:
    """Return whether the richer of two forecasts has the smaller error, with `CONFIDENCE`.

    simple, rich: (window,) errors on the same windows. origins: (window,) int64 microseconds.
    span: of a horizon, in the same unit.

    Windows that overlap err alike, and so do items at the same time: all windows whose origins lie
    within one horizon count as one. A paired t-test over these; with a single one the richer has to
    be better by a tenth.
    """
    from scipy.stats import t  # Heavy, and not needed for a forecast.

    block = (origins - origins.min()) // span
    count = torch.bincount(block)
    gain = torch.bincount(block, weights=(simple - rich).double())[count > 0] / count[count > 0]
    if len(gain) < 2:
        return bool(rich.mean() < CLEARLY * simple.mean())
    needed = float(t.ppf(CONFIDENCE, len(gain) - 1)) * float(gain.std()) / len(gain) ** 0.5
    return bool(gain.mean() > needed)
