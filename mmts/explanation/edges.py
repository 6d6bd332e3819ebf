"""What edges do, watched while all windows are forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmts.explanation.reading import ReadingMeter, SourceReading
from mmts.interactions.alignment import visible_tokens
from mmts.model import MultimodalForecaster
from mmts.tokens import Tokens

SPREAD = (10, 90)
"""Percentiles of the windows between which a strength is said to lie."""


@dataclass(frozen=True)
class Strength:
    """Norm of what an edge adds over the norm of what it adds to; NaN where nothing is observed.

    overall: over all tokens of all windows. low, high: the strength of single windows, at the
    percentiles of `SPREAD`.
    """

    overall: float
    low: float
    high: float


class EdgeMeter:
    """Observes every edge of a model over many batches and keeps sums.

    A ratio of sums, not a mean of ratios: a window in which next to nothing is there to be added
    to would rule the mean.
    """

    def __init__(self, model: MultimodalForecaster) -> None:
        """Watch all edges that the model runs."""
        self.model = model
        self.added: dict[str, list[Tensor]] = {name: [] for name in model.sources}
        self.base: dict[str, list[Tensor]] = {name: [] for name in model.sources}
        self.readings = {
            name: [ReadingMeter(str(source)) for source in sources]
            for name, sources in model.sources.items()
        }

    def __call__(self, name: str, added: Tensor, target: Tokens, sources: Sequence[Tokens]) -> None:
        """Take what an edge adds to a batch."""
        observed = target.grid.observed[..., None]
        for values, sums in ((added, self.added), (target.values, self.base)):
            sums[name].append((values.float() * observed).square().sum(dim=(1, 2)).cpu().double())
        interaction = self.model.interaction(name)
        shares = interaction.shares(target, sources)
        if not shares:
            # A kind of the user's own need not tell.
            self.readings[name] = []
            return
        for meter, source, share in zip(self.readings[name], sources, shares, strict=True):
            # Between layers of one stream a token reads itself, even where its rows are known late.
            visible = visible_tokens(target.grid, source.grid, interaction.reach) | (share > 0)
            meter.add(target.grid, source.grid, share, visible)

    def strength(self, name: str) -> Strength:
        """Return how strongly an edge acts."""
        added, base = (torch.cat(sums[name]).numpy() for sums in (self.added, self.base))
        met = base > 0
        if not met.any():
            return Strength(math.nan, math.nan, math.nan)
        low, high = np.percentile(np.sqrt(added[met] / base[met]), SPREAD)
        return Strength(math.sqrt(added.sum() / base.sum()), float(low), float(high))

    def reading(self, name: str) -> tuple[SourceReading, ...]:
        """Return where an edge reads."""
        return tuple(meter.finish() for meter in self.readings[name])
