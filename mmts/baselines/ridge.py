"""Forecasts by a linear map found in closed form: what people would otherwise use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.data.gathering import WindowGatherer
from mmts.linear.fitted import LinearFit
from mmts.linear.fitting import fit_linear
from mmts.linear.map_fitting import PENALTIES
from mmts.linear.path import LinearConfig, LinearPath

RIDGE = LinearConfig(loss="squares", contexts="whole", units="train")
"""Plain ridge regression; the model's own linear path may be more than that."""

BATCH_SIZE = 512


@dataclass(frozen=True)
class RidgeForecaster:
    """A fitted linear path, and how it was fitted."""

    fit: LinearFit
    path: LinearPath

    def forecast(self, windows: WindowGatherer) -> Tensor:
        """Return (window, horizon, target), on the scale of the training split."""
        return torch.cat([self.path.point(b.streams) for b in windows.batches(BATCH_SIZE)])


def fit_ridge(
    train: WindowGatherer,
    validation: WindowGatherer,
    category_sizes: Mapping[str, Mapping[str, int]],
    config: LinearConfig = RIDGE,
    penalties: Sequence[float] = PENALTIES,
) -> RidgeForecaster:
    """Fit by least squares, with what the config leaves open chosen on validation."""
    fit = fit_linear(
        train, validation, category_sizes, config, is_robust=False, penalties=penalties
    )
    path = LinearPath(train.schema, category_sizes, fit.config, num_outputs=0)
    fit.write_into(path, outputs=())
    return RidgeForecaster(fit, path)
