"""Whether a model is better than a baseline at many cut-offs, or only seems so."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmts.evaluation.report import Array

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """A model beside a baseline, in the mean of their errors over the cut-offs.

    num_better, num_equal: cut-offs at which the model's error is smaller, and just the same, of
        `num_cutoffs` at which both are defined.
    low, high: between which the baseline's mean error minus the model's lies, with `CONFIDENCE`;
        NaN where there is no spread to tell from.
    """

    model: float
    other: float
    num_better: int
    num_equal: int
    num_cutoffs: int
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval holds no zero."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "is_clear": self.is_clear}


def compare(model: Array, other: Array, places: npt.NDArray[np.int64], horizon: int) -> Comparison:
    """Compare the errors of two methods at the same cut-offs, (cutoff,), NaN where not defined.

    places: (cutoff,), rising. horizon: in the same unit. The interval is that of a paired t-test
    over stretches of time, each as heavy as it has cut-offs: those within one horizon of each
    other forecast the same values. A stretch is two horizons long, so that next to nothing of that
    goes from one to the other, and one cut-off where all are a horizon apart.
    """
    defined = np.isfinite(model) & np.isfinite(other)
    model, other, places = model[defined], other[defined], places[defined]
    if not len(model):
        return Comparison(math.nan, math.nan, 0, 0, 0, math.nan, math.nan)
    overlap = len(places) > 1 and int(np.diff(places).min()) < horizon
    length = 2 * horizon if overlap else horizon
    blocks = np.unique((places - places[0]) // length, return_inverse=True)[1]
    gain = float((other - model).mean())
    # By how much each stretch lies above what it would have at the mean gain.
    surplus = np.bincount(blocks, weights=other - model - gain)
    low = high = math.nan
    if len(surplus) > 1:
        from scipy.stats import t  # Heavy, and not needed for anything else here.

        factor = float(t.ppf(0.5 + CONFIDENCE / 2, len(surplus) - 1))
        spread = math.sqrt(len(surplus) / (len(surplus) - 1) * float((surplus**2).sum()))
        margin = factor * spread / len(model)
        low, high = gain - margin, gain + margin
    return Comparison(
        model=float(model.mean()),
        other=float(other.mean()),
        num_better=int((model < other).sum()),
        num_equal=int((model == other).sum()),
        num_cutoffs=len(model),
        low=low,
        high=high,
    )
