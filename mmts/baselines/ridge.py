"""Forecasts by one linear map from all that the model sees, found in closed form."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from mmts.baselines.features import WindowFeatures
from mmts.baselines.least_squares import CHUNK, LinearMaps, RidgeProblem, RowReader, in_chunks
from mmts.baselines.targets import collect_targets
from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer
from mmts.data.scaling import StreamScaling

PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
"""Penalties to choose from, per train window: with 1,000 windows these are 10^-2 to 10^5."""

NUM_COMPARED = 6
"""Steps at which penalties are compared."""

MAX_KEPT_NUMBERS = 2**28
"""Features times windows up to which features are kept, 1 GiB, and beyond gathered when needed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RidgeForecaster:
    """A fitted map.

    penalty: the one chosen of `PENALTIES`.
    kept: (feature,) int64, the features that vary over the train windows.
    center: (feature,), their means there. weights: (feature, output). intercepts: (output,).
    An output is one target at one step.
    """

    features: WindowFeatures
    penalty: float
    kept: Tensor
    center: Tensor
    weights: Tensor
    intercepts: Tensor

    def forecast(self, windows: WindowGatherer) -> Tensor:
        """Return (window, horizon, target), on the scale of the training split."""
        pieces = [
            self._centred(batch) @ self.weights + self.intercepts
            for batch in windows.batches(CHUNK)
        ]
        return rearrange(
            torch.cat(pieces),
            "window (horizon target) -> window horizon target",
            horizon=windows.schema.horizon,
        )

    def _centred(self, batch: Batch) -> Tensor:
        return self.features(batch)[:, self.kept] - self.center


def fit_ridge(
    train: WindowGatherer, validation: WindowGatherer, scaling: Mapping[str, StreamScaling]
) -> RidgeForecaster:
    """Fit one linear map per step and target on the train windows.

    Features are centred and not standardised: numbers are standardised already, and a flag that
    was rarely set keeps the small say that a penalty gives it. Those that never vary are dropped.
    All steps and targets share one penalty: the one with the least squared error on the validation
    windows, on the training scale, where every target weighs alike. Errors are compared at up to
    `NUM_COMPARED` steps spread over the horizon, as every step more takes a system per penalty.
    """
    features = WindowFeatures(train.schema, scaling)
    kept, center = _describe_features(features, train)
    targets, observed = (_by_output(values) for values in collect_targets(train))
    used = torch.nonzero(observed.any(dim=1)).flatten()
    logger.info("ridge: %d features of %d windows", len(kept), len(used))

    def gather(rows: Tensor) -> Tensor:
        return features(train.gather(used[rows]))[:, kept] - center

    read: RowReader = gather
    if len(used) * len(kept) <= MAX_KEPT_NUMBERS:
        read = torch.cat([gather(rows) for rows in in_chunks(torch.arange(len(used)))]).__getitem__
    problem = RidgeProblem(read, targets[used], observed[used])
    steps = torch.unique(torch.linspace(0, train.schema.horizon - 1, NUM_COMPARED).round().long())
    num_targets = len(train.schema.target_columns)
    compared = (steps[:, None] * num_targets + torch.arange(num_targets)).flatten()
    errors = _squared_errors(
        problem.solve(PENALTIES, compared), compared, features, kept, center, validation
    )
    # A penalty too small to be solved for in the arithmetic used is none to choose.
    penalty = PENALTIES[int(errors.nan_to_num(nan=torch.inf).argmin())]
    maps = problem.solve([penalty])
    return RidgeForecaster(features, penalty, kept, center, maps.weights[0], maps.intercepts[0])


def _describe_features(features: WindowFeatures, train: WindowGatherer) -> tuple[Tensor, Tensor]:
    """Return which features vary over the train windows, and the means of these."""
    lowest = highest = total = None
    for rows in train.batches(CHUNK):
        found = features(rows)
        low, high, added = found.amin(dim=0), found.amax(dim=0), found.double().sum(dim=0)
        lowest = low if lowest is None else torch.minimum(lowest, low)
        highest = high if highest is None else torch.maximum(highest, high)
        total = added if total is None else total + added
    assert lowest is not None and highest is not None and total is not None
    kept = torch.nonzero(lowest < highest).flatten()
    return kept, (total[kept] / len(train)).float()


def _by_output(values: Tensor) -> Tensor:
    return rearrange(values, "window horizon target -> window (horizon target)")


def _squared_errors(
    maps: LinearMaps,
    outputs: Tensor,
    features: WindowFeatures,
    kept: Tensor,
    center: Tensor,
    validation: WindowGatherer,
) -> Tensor:
    """Return the squared error of each penalty's map, summed over outputs, (penalty,) float64."""
    errors = torch.zeros(len(maps.weights), dtype=torch.float64)
    for batch in validation.batches(CHUNK):
        rows = features(batch)[:, kept] - center
        forecast = rows @ maps.weights[..., outputs] + maps.intercepts[:, None, outputs]
        missed = (forecast - _by_output(batch.target)[:, outputs]).double().square()
        missed = missed.masked_fill(~_by_output(batch.target_observed)[:, outputs], 0.0)
        errors += missed.sum(dim=(1, 2))
    return errors
